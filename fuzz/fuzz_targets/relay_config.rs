#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bucky_tests::inputs::check("relay_config", bytes));
