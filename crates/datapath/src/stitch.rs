//! Stitches: two interfaces of one namespace joined by tc redirects, so that
//! every frame passes, LACP, STP, LLDP and PAUSE included.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionGeneric, TcActionMirror, TcActionMirrorOption,
    TcActionOption, TcActionType, TcAttribute, TcFilterMatchAll, TcFilterMatchAllOption,
    TcFilterU32, TcFilterU32Option, TcHandle, TcMessage, TcMirror, TcMirrorActionType, TcOption,
    TcU32Key, TcU32Selector, TcU32SelectorFlags,
};
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::link;
use crate::socket::{Request, Socket};

const ETH_P_ALL: u16 = 3;
const PRIORITY: u16 = 1;

/// A tc classifier that can match every frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Classifier {
    /// Made for it; missing in small kernels.
    Matchall,
    /// Old and everywhere.
    U32,
}

impl Classifier {
    /// Best first.
    pub const ALL: [Self; 2] = [Self::Matchall, Self::U32];

    /// The kernel's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matchall => TcFilterMatchAll::KIND,
            Self::U32 => TcFilterU32::KIND,
        }
    }
}

/// Stitches two interfaces with the best classifier the kernel has; gives it.
/// Both are set up by the caller.
pub fn create(socket: &mut Socket, a: &str, b: &str) -> Result<Classifier> {
    let (at_a, at_b) = (link::index(socket, a)?, link::index(socket, b)?);
    let classifier = redirect_with_best(socket, (a, at_a), (b, at_b))?;
    let made = redirect(socket, (b, at_b), (a, at_a), classifier);
    if let Err(error) = made {
        remove_qdisc(socket, a, at_a)?;
        return Err(error);
    }
    Ok(classifier)
}

/// Stitches two interfaces unless they are; says whether it was done. A
/// redirect to a third interface is an error.
pub fn ensure(socket: &mut Socket, a: &str, b: &str) -> Result<bool> {
    let (at_a, at_b) = (link::index(socket, a)?, link::index(socket, b)?);
    let mut made = false;
    for (from, to) in [((a, at_a), (b, at_b)), ((b, at_b), (a, at_a))] {
        match target(socket, from.0)? {
            Some(target) if target == to.1 => {}
            // What it led to is gone; the kernel has kept the rule.
            Some(0) => {
                remove_qdisc(socket, from.0, from.1)?;
                redirect_with_best(socket, from, to)?;
                made = true;
            }
            Some(target) => {
                return Err(Error::Differs {
                    subject: socket.subject(from.0),
                    field: "redirect",
                    wanted: format!("to {} (index {})", to.0, to.1),
                    found: format!("to index {target}"),
                });
            }
            None => {
                redirect_with_best(socket, from, to)?;
                made = true;
            }
        }
    }
    Ok(made)
}

/// Takes a stitch apart; the interfaces stay.
pub fn remove(socket: &mut Socket, a: &str, b: &str) -> Result<bool> {
    let mut removed = false;
    for name in [a, b] {
        let index = link::index(socket, name)?;
        removed |= remove_qdisc(socket, name, index)?;
    }
    Ok(removed)
}

/// The index of the interface all frames received on this one are redirected
/// to, if any.
pub fn target(socket: &mut Socket, name: &str) -> Result<Option<u32>> {
    let index = link::index(socket, name)?;
    let message = message(index, ingress_of_clsact());
    let dump = match socket.dump(RouteNetlinkMessage::GetTrafficFilter(message)) {
        Ok(dump) => dump,
        // No clsact qdisc, no filters.
        Err(failure) if matches!(failure.errno, Errno::EINVAL | Errno::ENOENT) => return Ok(None),
        Err(failure) => return Err(failure.during("list filters of", socket.subject(name))),
    };
    Ok(dump.into_iter().find_map(|message| match message {
        RouteNetlinkMessage::NewTrafficFilter(message) => redirect_target(&message),
        _ => None,
    }))
}

type Named<'a> = (&'a str, u32);

fn redirect_with_best(socket: &mut Socket, from: Named<'_>, to: Named<'_>) -> Result<Classifier> {
    let mut last = None;
    for classifier in Classifier::ALL {
        match redirect(socket, from, to, classifier) {
            Ok(()) => return Ok(classifier),
            Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::EOPNOTSUPP)) => {
                last = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::kernel("add filter to", from.0, Errno::ENOENT)))
}

/// Redirects all that is received on one interface out of another.
pub(crate) fn redirect(
    socket: &mut Socket,
    from: Named<'_>,
    to: Named<'_>,
    classifier: Classifier,
) -> Result<()> {
    let requests = vec![qdisc_request(from.1), filter_request(from.1, to.1, classifier)];
    let mut replies = socket.batch(requests).into_iter();
    let subject = socket.subject(from.0);
    match replies.next() {
        Some(Err(failure)) if failure.errno != Errno::EEXIST => {
            return Err(failure.during("add clsact qdisc to", subject));
        }
        _ => {}
    }
    match replies.next() {
        Some(Err(failure)) => {
            let action = format!("add {} filter redirecting to {} to", classifier.name(), to.0);
            Err(failure.during(action, subject))
        }
        _ => Ok(()),
    }
}

fn remove_qdisc(socket: &mut Socket, name: &str, index: u32) -> Result<bool> {
    let request = Request::new(RouteNetlinkMessage::DelQueueDiscipline(clsact(index)), 0);
    match socket.request(request) {
        Ok(_) => Ok(true),
        Err(failure) if matches!(failure.errno, Errno::EINVAL | Errno::ENOENT) => Ok(false),
        Err(failure) => Err(failure.during("remove clsact qdisc of", socket.subject(name))),
    }
}

fn ingress_of_clsact() -> TcHandle {
    TcHandle { major: u16::MAX, minor: TcHandle::MIN_INGRESS }
}

fn message(index: u32, parent: TcHandle) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = parent;
    message
}

fn clsact(index: u32) -> TcMessage {
    let mut message = message(index, TcHandle::CLSACT);
    message.header.handle = TcHandle { major: u16::MAX, minor: 0 };
    message.attributes.push(TcAttribute::Kind("clsact".into()));
    message
}

fn qdisc_request(index: u32) -> Request {
    let message = RouteNetlinkMessage::NewQueueDiscipline(clsact(index));
    Request::new(message, NLM_F_CREATE | NLM_F_EXCL)
}

fn filter_request(from: u32, to: u32, classifier: Classifier) -> Request {
    let mut message = message(from, ingress_of_clsact());
    message.header.info = u32::from(PRIORITY) << 16 | u32::from(ETH_P_ALL.to_be());
    let options = match classifier {
        Classifier::Matchall => {
            vec![TcOption::MatchAll(TcFilterMatchAllOption::Action(vec![mirred(to)]))]
        }
        Classifier::U32 => vec![
            TcOption::U32(TcFilterU32Option::Selector(match_all())),
            TcOption::U32(TcFilterU32Option::Action(vec![mirred(to)])),
        ],
    };
    message.attributes.push(TcAttribute::Kind(classifier.name().into()));
    message.attributes.push(TcAttribute::Options(options));
    let message = RouteNetlinkMessage::NewTrafficFilter(message);
    Request::new(message, NLM_F_CREATE | NLM_F_EXCL)
}

/// One key with an empty mask.
fn match_all() -> TcU32Selector {
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    selector.nkeys = 1;
    selector.keys = vec![TcU32Key::default()];
    selector
}

fn mirred(to: u32) -> TcAction {
    let mut generic = TcActionGeneric::default();
    generic.action = TcActionType::Stolen;
    let mut mirror = TcMirror::default();
    mirror.generic = generic;
    mirror.eaction = TcMirrorActionType::EgressRedir;
    mirror.ifindex = to;
    let parameters = TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror));
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.into()),
        TcActionAttribute::Options(vec![parameters]),
    ];
    action
}

fn redirect_target(message: &TcMessage) -> Option<u32> {
    let options = message.attributes.iter().filter_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options),
        _ => None,
    });
    let actions = options.flatten().filter_map(|option| match option {
        TcOption::MatchAll(TcFilterMatchAllOption::Action(actions))
        | TcOption::U32(TcFilterU32Option::Action(actions)) => Some(actions),
        _ => None,
    });
    let attributes = actions.flatten().flat_map(|action| &action.attributes);
    let options = attributes.filter_map(|attribute| match attribute {
        TcActionAttribute::Options(options) => Some(options),
        _ => None,
    });
    options.flatten().find_map(|option| match option {
        TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror))
            if mirror.eaction == TcMirrorActionType::EgressRedir =>
        {
            Some(mirror.ifindex)
        }
        _ => None,
    })
}
