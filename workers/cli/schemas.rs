//! `stepup schemas`.

/// The schemas of messages, or the description of the ingress.
pub fn schemas(http: bool) -> String {
    let document = if http { stepup::ingress::openapi() } else { stepup::message::schemas() };
    format!("{document:#}")
}
