#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cupbearer_fuzz::grpc::run(data));
