//! Errors of what comes in through a trait: their types are known to whoever implements it, and to whoever asks for them.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

/// Why an implementation failed; `T` tells of what. [`Self::get`] gives back the error it was made of.
pub struct ErrorOf<T: ?Sized>(Box<dyn Error + Send + Sync>, PhantomData<fn(&T)>);

impl<T: ?Sized> ErrorOf<T> {
    /// Wraps an error.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error), PhantomData)
    }

    /// The error, if it is of this type.
    pub fn get<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// The error itself, if it is of this type; else this again.
    ///
    /// # Errors
    /// It is of another type.
    pub fn take<E: Error + 'static>(self) -> Result<E, Self> {
        let taken = self.0.downcast().map(|error| *error);
        taken.map_err(|error| Self(error, PhantomData))
    }
}

impl<T: ?Sized> fmt::Debug for ErrorOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<T: ?Sized> fmt::Display for ErrorOf<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<T: ?Sized> Error for ErrorOf<T> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
