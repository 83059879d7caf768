//! The component as visitors meet it: through the host, in front of an api that checks every signature.

#[cfg(test)]
mod component;
#[cfg(test)]
mod crowd;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod support;
#[cfg(test)]
mod visits;
