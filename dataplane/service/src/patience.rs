//! A connection whose peer is given up when it takes nothing.
//!
//! A peer that does not read keeps its answer in our memory. As long as it takes what is sent, this costs a look at an
//! empty option; the clock starts only when the peer's buffers are full.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::tls::Channel;

/// How often a peer that makes us wait is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Looks in a row at which it may have taken too little.
const MOST_LOOKS: u32 = 30;
/// The same while memory is short.
const MOST_LOOKS_WHEN_TIGHT: u32 = 2;
/// What a peer has to take between two looks: a modem is faster.
const LEAST_BYTES: usize = 16 << 10;
/// Until so many bytes have come, nobody else's clock runs: they tell the version of HTTP.
const PREFACE: usize = 24;

/// Whether memory is short, so that those who hold it for nothing have to go.
pub type Tight = Arc<dyn Fn() -> bool + Send + Sync>;

/// A connection that ends with [`io::ErrorKind::TimedOut`] when its peer takes too little, or says nothing at first.
pub(crate) struct Patient {
    stream: Channel,
    tight: Tight,
    stall: Option<Box<Stall>>,
    greeting: Option<Box<Greeting>>,
}

/// A peer that makes us wait.
struct Stall {
    next_look: Pin<Box<Sleep>>,
    taken: usize,
    looks: u32,
}

/// A peer that has not said much yet.
struct Greeting {
    end: Pin<Box<Sleep>>,
    heard: usize,
}

impl Patient {
    /// The peer's first words may take so long.
    pub(crate) fn new(stream: Channel, tight: Tight, greeting: Duration) -> Self {
        let end = Box::pin(sleep(greeting));
        Self {
            stream,
            tight,
            stall: None,
            greeting: Some(Box::new(Greeting { end, heard: 0 })),
        }
    }

    /// Notes what was written of `asked` bytes; when it was all, the peer keeps up.
    fn took(&mut self, bytes: usize, asked: usize) {
        if let Some(stall) = &mut self.stall {
            stall.taken += bytes;
            if bytes == asked {
                self.stall = None;
            }
        }
    }

    /// Waits for the peer, but not for ever.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stall = self.stall.get_or_insert_with(|| {
            Box::new(Stall {
                next_look: Box::pin(sleep(LOOK)),
                taken: 0,
                looks: 0,
            })
        });
        loop {
            ready!(stall.next_look.as_mut().poll(context));
            let keeps_up = stall.taken >= LEAST_BYTES;
            stall.looks = if keeps_up { 0 } else { stall.looks + 1 };
            stall.taken = 0;
            let most = if (self.tight)() {
                MOST_LOOKS_WHEN_TIGHT
            } else {
                MOST_LOOKS
            };
            if stall.looks >= most {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            stall.next_look.as_mut().reset(Instant::now() + LOOK);
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some(greeting) = &mut this.greeting else {
            return read;
        };
        greeting.heard += buffer.filled().len() - before;
        if greeting.heard >= PREFACE {
            this.greeting = None;
        } else if read.is_pending() && greeting.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.wait(context),
            Poll::Ready(written) => {
                self.took(*written.as_ref().unwrap_or(&0), bytes.len());
                Poll::Ready(written)
            }
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write_vectored(context, slices) {
            Poll::Pending => self.wait(context),
            Poll::Ready(written) => {
                if self.stall.is_some() {
                    let asked = slices.iter().map(|slice| slice.len()).sum();
                    self.took(*written.as_ref().unwrap_or(&0), asked);
                }
                Poll::Ready(written)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
