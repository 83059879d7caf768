//! Any text is a plan within its bounds or a [`PlanError`](loopmaster_core::plan::PlanError): no panic, and what was read once reads
//! back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use loopmaster_core::plan::Plan;
use loopmaster_core::units::Seconds;

fuzz_target!(|data: &str| {
    if let Ok(plan) = Plan::from_json(data) {
        assert_eq!(Plan::from_json(&plan.to_json()).expect("a valid plan was written"), plan);
        let _ = plan.fits(Seconds(1.0));
    }
});
