//! Sets the linker up for a Node.js addon.

fn main() {
    napi_build::setup();
    // A worker that ends unloads the addons that it loaded; our writer threads and the async runtime may still
    // be running code of this library then. `nodelete` keeps the library mapped for the life of the process.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux")
        && std::env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu")
    {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
