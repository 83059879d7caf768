//! How long the storage takes to answer, and how often it does not.

use crate::measure;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use std::time::Instant;

/// Watches each operation of a client, from before it is signed until its answer was read or given up, with all its tries.
#[derive(Debug)]
pub(super) struct Measured;

#[derive(Debug)]
struct Began(Instant);

impl Storable for Began {
    type Storer = StoreReplace<Self>;
}

impl Intercept for Measured {
    fn name(&self) -> &'static str {
        "Measured"
    }

    fn read_before_execution(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        bag.interceptor_state().store_put(Began(Instant::now()));
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(Began(at)) = bag.load::<Began>() else { return Ok(()) };
        // What is not there, or has been written by somebody else, is an answer.
        let answered = context.response().is_some_and(|response| matches!(response.status().as_u16(), 404 | 409 | 412));
        let failed = !answered && context.output_or_error().is_none_or(|done| done.is_err());
        let operation = bag.load::<Metadata>().map_or("other", Metadata::name);
        measure::storage(operation, at.elapsed(), failed);
        Ok(())
    }
}
