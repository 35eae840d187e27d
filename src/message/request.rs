//! A request as a worker gets it.

use serde_json::Value;

use super::body::parse_known;
use super::catalogue;
use super::declaration::RequestBody;
use super::kind::{Message, Rejected, Subject};
use crate::domain::id::AppName;

/// A request and the app that makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<T> {
    /// Who asks.
    pub app: AppName,
    /// What.
    pub body: T,
}

impl<T: RequestBody> Message for Request<T> {
    fn read(key: &str, app: Option<AppName>, body: Value) -> Result<Self, Rejected> {
        let known = catalogue::request(T::KEY);
        let (Some(app), Some(known)) = (app, known) else {
            return Err(Rejected::malformed(format!("`{key}` is no request")));
        };
        Ok(Self { app, body: parse_known(body, &known.fields)? })
    }

    fn subject(&self) -> Subject {
        self.body.subject()
    }
}

/// Declares the requests that one worker takes, as an enum that reads itself by their keys.
macro_rules! requests_of_a_worker {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident($body:ty),)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant(crate::message::Request<$body>),)+ }

        impl crate::message::Message for $name {
            fn read(
                key: &str,
                app: Option<crate::domain::id::AppName>,
                body: serde_json::Value,
            ) -> Result<Self, crate::message::Rejected> {
                match key {
                    $(<$body as crate::message::RequestBody>::KEY => {
                        crate::message::Request::read(key, app, body).map(Self::$variant)
                    })+
                    _ => Err(crate::message::Rejected::malformed(
                        "this queue does not take that request",
                    )),
                }
            }

            fn subject(&self) -> crate::message::Subject {
                match self { $(Self::$variant(request) => request.subject(),)+ }
            }
        }

        impl $name {
            /// The app that asks.
            pub fn app(&self) -> &crate::domain::id::AppName {
                match self { $(Self::$variant(request) => &request.app,)+ }
            }

            /// The account it names.
            pub fn account(&self) -> &crate::domain::id::AccountId {
                match self { $(Self::$variant(request) => &request.body.account,)+ }
            }
        }
    };
}
pub(crate) use requests_of_a_worker;
