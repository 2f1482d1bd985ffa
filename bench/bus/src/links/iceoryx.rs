//! iceoryx2: a publisher and a subscriber each way, nothing dropped; polled, or woken by events.

use std::path::Path;
use std::time::{Duration, Instant};

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::Result;
use crate::link::Link;
use crate::stage;

/// Messages a subscriber's queue holds.
const DEPTH: usize = 1024;
/// A peer that does not come is given up after so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// One end.
pub struct Iceoryx {
    out: Publisher<ipc::Service, [u8], ()>,
    back: Subscriber<ipc::Service, [u8], ()>,
    events: Option<(Notifier<ipc::Service>, Listener<ipc::Service>)>,
    _node: Node<ipc::Service>,
}

/// Opens both directions, making what is not there, and waits for the other end.
pub fn open(stage: &Path, is_first: bool, bytes: usize, is_woken: bool) -> Result<Iceoryx> {
    set_log_level(LogLevel::Error);
    let mut config = Config::default();
    config.global.prefix = stage::iceoryx_prefix(stage).as_str().try_into()?;
    let root = stage.display().to_string();
    config.global.set_root_path(&root.as_str().try_into()?);
    let node = NodeBuilder::new()
        .config(&config)
        .create::<ipc::Service>()?;
    let (there, back) = (String::from("there"), String::from("back"));
    let (out, back) = if is_first {
        (there, back)
    } else {
        (back, there)
    };
    let service = |name: &str| -> Result<_> {
        let builder = node
            .service_builder(&name.try_into()?)
            .publish_subscribe::<[u8]>();
        let builder = builder.enable_safe_overflow(false).history_size(0);
        let builder = builder.subscriber_max_buffer_size(DEPTH);
        Ok(builder
            .max_publishers(1)
            .max_subscribers(1)
            .open_or_create()?)
    };
    let (out_service, back_service) = (service(&out)?, service(&back)?);
    let publisher = out_service.publisher_builder().initial_max_slice_len(bytes);
    let publisher = publisher.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
    let events = match is_woken {
        false => None,
        true => {
            let event = |name: &str| -> Result<_> {
                let name = format!("{name}/event");
                Ok(node
                    .service_builder(&name.as_str().try_into()?)
                    .event()
                    .open_or_create()?)
            };
            let notifier = event(&out)?.notifier_builder().create()?;
            Some((notifier, event(&back)?.listener_builder().create()?))
        }
    };
    let link = Iceoryx {
        out: publisher.create()?,
        back: back_service.subscriber_builder().create()?,
        events,
        _node: node,
    };
    let begun = Instant::now();
    let is_alone = || {
        let out = out_service.dynamic_config().number_of_subscribers();
        out == 0 || back_service.dynamic_config().number_of_publishers() == 0
    };
    while is_alone() {
        if begun.elapsed() > PATIENCE {
            return Err("the other end did not come".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // Its listener is made before its subscriber, so it is there, too.
    Ok(link)
}

impl Link for Iceoryx {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let sample = self.out.loan_slice_uninit(message.len())?;
        sample.write_from_slice(message).send()?;
        if let Some((notifier, _)) = &self.events {
            notifier.notify()?;
        }
        Ok(())
    }

    fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        loop {
            if let Some(sample) = self.back.receive()? {
                each(sample.payload());
                return Ok(());
            }
            if let Some((_, listener)) = &self.events {
                listener.blocking_wait(|_| {})?;
            }
        }
    }
}
