//! What one instance of the component sees: WASI, HTTP over the pool, the stores and variables its manifest gives it, and its limits.

use crate::keyvalue::KeyValue;
use crate::manifest::Manifest;
use crate::outbound::{Hooks, Outbound};
use bindings::spin::variables::variables;
use bindings::wasi::keyvalue::{atomics, store};
use std::collections::BTreeMap;
use std::sync::Arc;
use wasmtime::component::{Access, Accessor, HasSelf, Linker, Resource, ResourceTable};
use wasmtime::{Engine, StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "loopmaster:edge-host/spin",
        imports: { default: trappable },
        with: {
            "wasi:keyvalue/store.bucket": super::Bucket,
            "wasi:keyvalue/atomics.cas": super::Cas,
        },
    });
}

/// What all instances share.
pub(crate) struct Shared {
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) stores: BTreeMap<String, Arc<KeyValue>>,
    pub(crate) outbound: Arc<Outbound>,
    pub(crate) memory: usize,
}

impl Shared {
    pub(crate) fn new(manifest: &Manifest, default: &Arc<KeyValue>, memory: usize) -> std::io::Result<Self> {
        let store = |label: &String| {
            let kept = label == "default";
            (label.clone(), if kept { Arc::clone(default) } else { Arc::default() })
        };
        Ok(Self {
            variables: manifest.variables.clone(),
            stores: manifest.stores.iter().map(store).collect(),
            outbound: Arc::new(Outbound::new(manifest.allowed.clone())?),
            memory,
        })
    }
}

/// The data of one instance.
pub(crate) struct Guest {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    table: ResourceTable,
    shared: Arc<Shared>,
    pub(crate) limits: StoreLimits,
}

/// An open store.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Bucket(Arc<KeyValue>);

/// A key as it was when it was looked at.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Cas {
    store: Arc<KeyValue>,
    key: String,
    seen: Option<(u64, Vec<u8>)>,
}

impl Cas {
    fn look(store: Arc<KeyValue>, key: String) -> Self {
        let seen = store.get(&key);
        Self { store, key, seen }
    }
}

impl Guest {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            wasi: WasiCtxBuilder::new().inherit_stdout().inherit_stderr().build(),
            http: WasiHttpCtx::new(),
            hooks: Hooks(Arc::clone(&shared.outbound)),
            table: ResourceTable::new(),
            limits: StoreLimitsBuilder::new().memory_size(shared.memory).instances(64).tables(64).memories(8).build(),
            shared,
        }
    }

    pub(crate) fn view(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.hooks, table: &mut self.table, ctx: &mut self.http }
    }

    /// Everything the component can import.
    pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Self>> {
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
        bindings::Spin::add_to_linker::<_, HasSelf<Self>>(&mut linker, |guest| guest)?;
        Ok(linker)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.view()
    }
}

impl store::Host for Guest {
    fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Bucket>, store::Error>> {
        match self.shared.stores.get(&identifier) {
            Some(store) => Ok(Ok(self.table.push(Bucket(Arc::clone(store)))?)),
            None => Ok(Err(store::Error::AccessDenied)),
        }
    }
}

impl store::HostBucket for Guest {
    fn get(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        Ok(Ok(self.table.get(&bucket)?.0.get(&key).map(|(_, value)| value)))
    }

    fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), store::Error>> {
        self.table.get(&bucket)?.0.set(&key, value);
        Ok(Ok(()))
    }

    fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<(), store::Error>> {
        self.table.get(&bucket)?.0.delete(&key);
        Ok(Ok(()))
    }

    fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<bool, store::Error>> {
        Ok(Ok(self.table.get(&bucket)?.0.get(&key).is_some()))
    }

    fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        _cursor: Option<String>,
    ) -> wasmtime::Result<Result<store::KeyResponse, store::Error>> {
        Ok(Ok(store::KeyResponse { keys: self.table.get(&bucket)?.0.keys(), cursor: None }))
    }

    fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for Guest {
    fn increment(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> wasmtime::Result<Result<i64, store::Error>> {
        let sum = self.table.get(&bucket)?.0.increment(&key, delta);
        Ok(sum.ok_or_else(|| store::Error::Other(format!("{key} is not a number that can grow by {delta}"))))
    }

    fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), atomics::CasError>> {
        let Cas { store, key, seen } = self.table.delete(cas)?;
        if store.swap(&key, seen.map(|(version, _)| version), value).is_ok() {
            return Ok(Ok(()));
        }
        let newer = self.table.push(Cas::look(store, key))?;
        Ok(Err(atomics::CasError::CasFailed(newer)))
    }
}

impl atomics::HostCas for Guest {
    fn new(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<Resource<Cas>, store::Error>> {
        let store = Arc::clone(&self.table.get(&bucket)?.0);
        Ok(Ok(self.table.push(Cas::look(store, key))?))
    }

    fn current(&mut self, cas: Resource<Cas>) -> wasmtime::Result<Result<Option<Vec<u8>>, store::Error>> {
        Ok(Ok(self.table.get(&cas)?.seen.as_ref().map(|(_, value)| value.clone())))
    }

    fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl variables::Host for Guest {}

impl<T: 'static> variables::HostWithStore<T> for HasSelf<Guest> {
    async fn get(accessor: &Accessor<T, Self>, name: String) -> wasmtime::Result<Result<String, variables::Error>> {
        Ok(accessor.with(|mut access: Access<'_, T, Self>| {
            let value = access.get().shared.variables.get(&name).cloned();
            value.ok_or_else(|| variables::Error::Undefined(format!("the manifest gives no variable {name}")))
        }))
    }
}
