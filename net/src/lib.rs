//! Sockets that strangers connect to. A connection costs a stranger nothing and us a file descriptor, so that there is a limit for each
//! address and one for all. A newcomer is always let in: where a limit is reached, the connection goes that has been of least use, and
//! whoever opens a thousand of them and says nothing loses their own.
//!
//! What asks nothing is closed after a while, whatever protocol it speaks: [`Listener`] looks at bytes and requests, not at HTTP.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How often silent connections are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// After this time without a descriptor the next connection is tried.
const OUT_OF_DESCRIPTORS: Duration = Duration::from_millis(50);
/// Descriptors that are left to files, databases and whatever else the process opens.
const OTHER_DESCRIPTORS: u64 = 256;

/// How many, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub total: usize,
    /// From one address: an IPv4 address, the /64 of an IPv6 one.
    pub per_address: usize,
    /// Whether the proxies of the operator come from this machine or its own network: those count in the total only.
    pub behind_proxies: bool,
    /// The first request has to be there within this time.
    pub first: Duration,
    /// The next one, on a connection that is kept.
    pub idle: Duration,
    /// While something is asked or answered, bytes have to move within this time.
    pub stalled: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: 8_192,
            per_address: 512,
            behind_proxies: false,
            first: Duration::from_secs(15),
            idle: Duration::from_mins(1),
            stalled: Duration::from_mins(5),
        }
    }
}

/// Raises the soft limit of open files to the hard one; returns what holds from then on.
#[must_use]
pub fn raise_descriptor_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: now.maximum, maximum: now.maximum };
    let held = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        // Some systems say unlimited and mean less; what was there stays.
        Err(_) => now.current,
    };
    held.unwrap_or(u64::MAX)
}

/// How many connections of `wished` there are descriptors for, where this is one of `listeners` of the process and each connection may
/// hold a file beside its socket.
#[must_use]
pub fn affordable(wished: usize, descriptors: u64, listeners: u64) -> usize {
    let share = descriptors.saturating_sub(OTHER_DESCRIPTORS) / (2 * listeners.max(1));
    wished.min(usize::try_from(share).unwrap_or(usize::MAX)).max(16)
}

/// What is counted as one client.
fn network(ip: IpAddr) -> [u8; 8] {
    let mut network = [0; 8];
    match ip.to_canonical() {
        IpAddr::V4(ip) => network[4..].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => network.copy_from_slice(&ip.octets()[..8]),
    }
    network
}

/// Whether a proxy of the operator may come from there.
fn is_near(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// A connection among the others.
#[derive(Debug)]
pub struct Seat {
    number: u64,
    network: [u8; 8],
    crowd: Arc<Crowd>,
    /// Requests under way.
    requests: AtomicU64,
    /// Whether one has ever come.
    asked: AtomicBool,
    /// Counted in the total only.
    exempt: AtomicBool,
    /// When it was accepted, milliseconds since the crowd began.
    began: u64,
    /// When bytes moved last.
    moved: AtomicU64,
    gone: CancellationToken,
}

impl Seat {
    /// A request has come; it is under way until the guard is dropped.
    #[must_use]
    pub fn request(self: &Arc<Self>) -> Asking {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
        Asking(Arc::clone(self))
    }

    /// Whoever is at the other end has proved to be one of ours: no limit of an address holds for the connection from now on.
    pub fn vouch(&self) {
        self.exempt.store(true, Ordering::Relaxed);
    }

    fn touch(&self) {
        self.moved.store(self.crowd.now(), Ordering::Relaxed);
    }

    /// Who goes first: what never asked for anything, what asks for nothing now, what has not moved for longest.
    fn worth(&self) -> (bool, bool, bool, u64) {
        (
            self.exempt.load(Ordering::Relaxed),
            self.requests.load(Ordering::Relaxed) > 0,
            self.asked.load(Ordering::Relaxed),
            self.moved.load(Ordering::Relaxed),
        )
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Asking(Arc<Seat>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
        self.0.touch();
    }
}

#[derive(Debug)]
struct Crowd {
    limits: Limits,
    began: Instant,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    count: u64,
    taken: HashMap<u64, Arc<Seat>>,
    of: HashMap<[u8; 8], usize>,
}

impl Seats {
    fn remove(&mut self, seat: &Seat) {
        if self.taken.remove(&seat.number).is_some()
            && let Some(count) = self.of.get_mut(&seat.network)
        {
            *count -= 1;
            if *count == 0 {
                self.of.remove(&seat.network);
            }
        }
    }

    /// The one of least worth among some.
    fn least(&self, among: impl Fn(&Seat) -> bool) -> Option<Arc<Seat>> {
        self.taken.values().filter(|seat| among(seat)).min_by_key(|seat| (seat.worth(), seat.number)).cloned()
    }
}

impl Crowd {
    fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, began: Instant::now(), seats: Mutex::default() })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a newcomer in; others may have to go.
    fn enter(self: &Arc<Self>, ip: IpAddr) -> Arc<Seat> {
        let network = network(ip);
        let exempt = self.limits.behind_proxies && is_near(ip);
        let mut seats = self.seats();
        // Those at an address that are exempt are counted out only where the quick count is over the limit.
        if !exempt && seats.of.get(&network).copied().unwrap_or(0) >= self.limits.per_address {
            let counted = |seat: &Seat| seat.network == network && !seat.exempt.load(Ordering::Relaxed);
            if seats.taken.values().filter(|seat| counted(seat)).count() >= self.limits.per_address
                && let Some(seat) = seats.least(counted)
            {
                seat.gone.cancel();
                seats.remove(&seat);
            }
        }
        if seats.taken.len() >= self.limits.total
            && let Some(seat) = seats.least(|_| true)
        {
            seat.gone.cancel();
            seats.remove(&seat);
        }
        seats.count += 1;
        let seat = Arc::new(Seat {
            number: seats.count,
            network,
            crowd: Arc::clone(self),
            requests: AtomicU64::new(0),
            asked: AtomicBool::new(false),
            exempt: AtomicBool::new(exempt),
            began: self.now(),
            moved: AtomicU64::new(self.now()),
            gone: CancellationToken::new(),
        });
        seats.taken.insert(seat.number, Arc::clone(&seat));
        *seats.of.entry(network).or_default() += 1;
        seat
    }

    fn leave(&self, seat: &Seat) {
        self.seats().remove(seat);
    }

    /// Closes what has been silent for too long.
    fn close_silent(&self) {
        let now = self.now();
        let Limits { first, idle, stalled, .. } = self.limits;
        let mut seats = self.seats();
        let silent: Vec<Arc<Seat>> = seats
            .taken
            .values()
            .filter(|seat| {
                let (_, busy, asked, moved) = seat.worth();
                // Half a request a byte at a time: what counts before the first request is when it was begun.
                let since = if asked { moved } else { seat.began };
                let patience = if busy {
                    stalled
                } else if asked {
                    idle
                } else {
                    first
                };
                u128::from(now.saturating_sub(since)) > patience.as_millis()
            })
            .cloned()
            .collect();
        for seat in silent {
            seat.gone.cancel();
            seats.remove(&seat);
        }
    }
}

/// A listener that counts.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    crowd: Arc<Crowd>,
    /// When silent connections are looked for next. Kept here, as whoever waits for a connection may do so a little at a time.
    look: Mutex<tokio::time::Instant>,
}

impl Listener {
    /// Counts the connections of a socket.
    #[must_use]
    pub fn new(tcp: TcpListener, limits: Limits) -> Self {
        Self { tcp, crowd: Crowd::new(limits), look: Mutex::new(tokio::time::Instant::now() + LOOK) }
    }

    /// Closes what is silent, where it is time to; returns when it is time again.
    fn look(&self) -> tokio::time::Instant {
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        let now = tokio::time::Instant::now();
        if *look <= now {
            *look = now + LOOK;
            self.crowd.close_silent();
        }
        *look
    }

    /// The next connection. Errors of the system (no descriptors left) are waited out; `failed` hears of them.
    pub async fn accept(&self, mut failed: impl FnMut(&io::Error)) -> (Stream, SocketAddr) {
        loop {
            let look = self.look();
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                () = tokio::time::sleep_until(look) => continue,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    // Answers are written whole; waiting for more would only delay them.
                    let _ = tcp.set_nodelay(true);
                    let seat = self.crowd.enter(peer.ip());
                    let gone = Box::pin(seat.gone.clone().cancelled_owned());
                    return (Stream { tcp, gone, seat }, peer);
                }
                Err(error) => {
                    failed(&error);
                    tokio::time::sleep(OUT_OF_DESCRIPTORS).await;
                }
            }
        }
    }

    /// Connections now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.crowd.seats().taken.len()
    }
}

/// A connection. It breaks when its place is given to somebody else.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
    seat: Arc<Seat>,
}

impl Stream {
    /// Its place among the others.
    #[must_use]
    pub fn seat(&self) -> Arc<Seat> {
        Arc::clone(&self.seat)
    }

    fn here(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.gone.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "closed: silent, or one too many")),
            Poll::Pending => Ok(()),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.seat.crowd.leave(&self.seat);
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.here(context)?;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.seat.touch();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.here(context)?;
        let written = ready!(Pin::new(&mut self.tcp).poll_write(context, bytes))?;
        self.seat.touch();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.here(context)?;
        let written = ready!(Pin::new(&mut self.tcp).poll_write_vectored(context, bytes))?;
        self.seat.touch();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

pin_project_lite::pin_project! {
    /// The body of an answer: its request is under way until it has been sent.
    #[derive(Debug)]
    pub struct Answering<B> {
        #[pin]
        body: B,
        asking: Option<Asking>,
    }
}

impl<B> Answering<B> {
    /// Holds the request under way as long as the body lives.
    pub fn new(body: B, asking: Asking) -> Self {
        Self { body, asking: Some(asking) }
    }
}

impl<B: http_body::Body> http_body::Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(context));
        if frame.is_none() {
            this.asking.take();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd(total: usize, per_address: usize, behind_proxies: bool) -> Arc<Crowd> {
        Crowd::new(Limits { total, per_address, behind_proxies, ..Limits::default() })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn here(seat: &Seat) -> bool {
        !seat.gone.is_cancelled()
    }

    #[test]
    fn whoever_opens_too_many_loses_their_own() {
        let crowd = crowd(100, 3, false);
        let other = crowd.enter(ip("10.0.0.2"));
        let mine: Vec<_> = (0..5).map(|_| crowd.enter(ip("10.0.0.1"))).collect();
        assert!(here(&other));
        assert_eq!(mine.iter().map(|seat| here(seat)).collect::<Vec<_>>(), [false, false, true, true, true]);
    }

    #[test]
    fn what_is_used_stays() {
        let crowd = crowd(100, 3, false);
        let busy = crowd.enter(ip("10.0.0.1"));
        let _asking = busy.request();
        let kept = crowd.enter(ip("10.0.0.1"));
        drop(kept.request());
        let silent = crowd.enter(ip("10.0.0.1"));
        let _new = crowd.enter(ip("10.0.0.1"));
        assert!(here(&busy) && here(&kept) && !here(&silent));
        let newest = crowd.enter(ip("10.0.0.1"));
        drop(newest.request());
        let _new = crowd.enter(ip("10.0.0.1"));
        assert!(here(&busy) && here(&newest) && !here(&kept));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client_and_mapped_addresses_are_ipv4() {
        let crowd = crowd(100, 1, false);
        let first = crowd.enter(ip("2001:db8:1:2::1"));
        let far = crowd.enter(ip("2001:db8:1:3::1"));
        let _second = crowd.enter(ip("2001:db8:1:2:ffff::9"));
        assert!(!here(&first) && here(&far));
        let four = crowd.enter(ip("192.0.2.1"));
        let _mapped = crowd.enter(ip("::ffff:192.0.2.1"));
        assert!(!here(&four));
    }

    #[test]
    fn proxies_and_whoever_was_vouched_for_count_in_the_total_only() {
        let behind = crowd(5, 1, true);
        let near: Vec<_> = (0..3).map(|_| behind.enter(ip("127.0.0.1"))).collect();
        let far = behind.enter(ip("198.51.100.1"));
        let _far = behind.enter(ip("198.51.100.1"));
        assert!(near.iter().all(|seat| here(seat)) && !here(&far), "far away it holds");
        let plain = crowd(3, 1, false);
        let edge = plain.enter(ip("127.0.0.1"));
        edge.vouch();
        let guest = plain.enter(ip("127.0.0.1"));
        assert!(here(&edge) && here(&guest));
        let others: Vec<_> = (1..=3).map(|n| plain.enter(ip(&format!("10.0.0.{n}")))).collect();
        assert!(here(&edge), "and of the total it goes last");
        assert!(!here(&guest) && !here(&others[0]) && here(&others[2]));
    }

    #[test]
    fn seats_are_given_back() {
        let crowd = crowd(10, 10, false);
        let seat = crowd.enter(ip("10.0.0.1"));
        crowd.leave(&seat);
        crowd.leave(&seat);
        let seats = crowd.seats();
        assert!(seats.taken.is_empty() && seats.of.is_empty());
    }

    #[test]
    fn silence_ends() {
        let limits = Limits {
            first: Duration::ZERO,
            idle: Duration::from_hours(1),
            stalled: Duration::from_hours(1),
            ..Limits::default()
        };
        let crowd = Crowd::new(limits);
        let (silent, kept, busy) =
            (crowd.enter(ip("10.0.0.1")), crowd.enter(ip("10.0.0.1")), crowd.enter(ip("10.0.0.1")));
        drop(kept.request());
        let _asking = busy.request();
        std::thread::sleep(Duration::from_millis(5));
        // A byte at a time is no request.
        silent.touch();
        crowd.close_silent();
        assert!(!here(&silent) && here(&kept) && here(&busy));
    }

    #[test]
    fn few_descriptors_are_shared() {
        assert_eq!(affordable(8_192, 1 << 20, 2), 8_192);
        assert_eq!(affordable(8_192, 1_024, 2), 192);
        assert_eq!(affordable(8_192, 100, 2), 16);
    }

    #[tokio::test]
    async fn a_connection_that_has_to_go_breaks_and_the_newcomer_is_served() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let tcp = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listener = Listener::new(tcp, Limits { per_address: 1, ..Limits::default() });
        let _first = TcpStream::connect(address).await.unwrap();
        let (mut served, _) = listener.accept(|_| {}).await;
        let reading = tokio::spawn(async move { served.read_u8().await });
        let mut second = TcpStream::connect(address).await.unwrap();
        let (mut served, _) = listener.accept(|_| {}).await;
        let broken = reading.await.unwrap().unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::ConnectionAborted);
        served.write_u8(7).await.unwrap();
        assert_eq!(second.read_u8().await.unwrap(), 7);
        drop(served);
        assert_eq!(listener.connections(), 0);
    }
}
