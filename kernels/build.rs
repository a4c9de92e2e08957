//! Compiles the kernels of NVIDIA's GPUs where the feature `cuda` asks for them, with the toolkit's `nvcc`.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const SOURCE: &str = "src/program/gpu/kernels.cu";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    for variable in ["CUDA_HOME", "CUDA_PATH", "CUDA_COMPUTE_CAP"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    let home = env::var_os("CUDA_HOME").or_else(|| env::var_os("CUDA_PATH"));
    let nvcc = home.map_or_else(
        || PathBuf::from("nvcc"),
        |home| PathBuf::from(home).join("bin/nvcc"),
    );
    // PTX of this capability runs on all later GPUs; 8.0 is the first with bf16.
    let capability = env::var("CUDA_COMPUTE_CAP").unwrap_or_else(|_| "80".to_owned());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("kernels.ptx");
    let done = Command::new(&nvcc)
        .args(["--ptx", "-O3", "-std=c++17", SOURCE, "-o"])
        .arg(&out)
        .arg(format!(
            "-arch=compute_{}",
            capability.trim_end_matches(char::is_alphabetic)
        ))
        .status();
    match done {
        Ok(status) if status.success() => {}
        Ok(status) => panic!("{}: {SOURCE} was not compiled: {status}", nvcc.display()),
        Err(error) => panic!(
            "{}: {error}; the feature `cuda` needs NVIDIA's toolkit, found by CUDA_HOME or PATH",
            nvcc.display()
        ),
    }
}
