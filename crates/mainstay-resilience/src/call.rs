use mainstay_context::Context;

/// A request that may know for whom it is made, and so until when.
pub trait Call {
    /// The circumstances of the call; `None` when nothing limits it.
    fn context(&self) -> Option<&Context>;
}

/// The context is an extension, as `mainstay::http` and middleware of axum leave it.
impl<B> Call for http::Request<B> {
    fn context(&self) -> Option<&Context> {
        self.extensions().get()
    }
}
