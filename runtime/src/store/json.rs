//! Values of your own types, as JSON: what other clients of the same data can read too.

use super::{Error, commands};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

commands! {
    /// Sets a key to a value of your own type, as JSON. With the feature `serde`.
    ///
    /// # Errors
    /// As `set`, or the value has no JSON.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set_json("point", &(1, 2))?;
    /// assert_eq!(store.get("point")?.unwrap(), "[1,2]");
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn set_json<T: Serialize + ?Sized>(&self, key: impl AsRef<[u8]>, value: &T) -> Result<(), Error> {
        self.set(key, serde_json::to_vec(value)?)
    }

    /// The value of your own type at a key, from JSON. With the feature `serde`.
    ///
    /// # Errors
    /// As `get`, or what is there is not the JSON of such a value.
    ///
    /// ```
    /// let store = baton::Store::memory();
    /// store.set("point", "[1, 2]")?;
    /// assert_eq!(store.get_json::<(i32, i32)>("point")?, Some((1, 2)));
    /// # Ok::<(), baton::Error>(())
    /// ```
    pub fn get_json<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
        let text: Option<Bytes> = self.get(key)?;
        text.map(|text| serde_json::from_slice(&text)).transpose().map_err(Error::from)
    }
}
