//! The random steps: small numbers that are read as indices, so that any sequence makes sense and
//! shrinks well. 0 is what goes well.

use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::asked::Operation;
use crate::who::{Credential, Whose};

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Ask for something.
    Ask { by: By, what: What },
    /// Ask again for something that was asked before: by another credential, over another protocol.
    Again { by: By, asked: u8 },
    /// Ask for several things that lead far into the life of an order.
    Tale { by: By, tale: u8 },
    /// The worker does what is due.
    Work,
    /// The next request to the payment provider goes wrong.
    ProviderFails(u8),
    /// The next commit or read of the store goes wrong.
    StoreFails(u8),
    /// Time passes.
    Hours(u8),
    /// What is past its time is forgotten.
    Forget,
}

/// Who asks, and over which protocol where both are used in turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct By {
    pub(super) whose: Whose,
    /// By which of their credentials, at each of the services that are played side by side.
    credentials: [Credential; 3],
    pub(super) grpc: bool,
}

impl By {
    /// The credential that is shown to the service of this place. What opens nothing is refused by its
    /// kind, so all of them are shown the same.
    pub(super) fn credential(self, whose: Whose, place: usize) -> Credential {
        self.credentials[if whose == Whose::Nobodys { 0 } else { place }]
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum What {
    Create { key: u8, draft: Draft, validate_only: bool, wait: u8 },
    Batch { key: u8, items: Vec<(u8, Draft)> },
    Verb { verb: Operation, words: Words },
    Get { order: u8, name: u8 },
    List { filter: u8, size: u8, token: u8 },
    History { order: u8, size: u8, token: u8 },
    Feed { after: u8, limit: u8 },
}

/// An order to place: which kind, under which reference, and what is wrong with it.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) kind: u16,
    pub(super) reference: u8,
    pub(super) flaws: Vec<u8>,
}

/// How a verb is said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Words {
    /// Which order, the newest first.
    pub(super) order: u8,
    /// How it is named.
    pub(super) name: u8,
    pub(super) key: u8,
    pub(super) etag: u8,
    /// The reason, or the text of a note.
    pub(super) text: u8,
    pub(super) pieces: u8,
    pub(super) amount: u8,
    /// The instrument, the payment or the operation.
    pub(super) token: u8,
    pub(super) outcome: u8,
    pub(super) wait: u8,
}

impl Step {
    /// The steps that it stands for: itself, or those of its tale.
    pub(super) fn parts(&self) -> Vec<Self> {
        let Self::Tale { by, tale } = self else { return vec![self.clone()] };
        let ask = |what| Self::Ask { by: *by, what };
        let create = || {
            let draft = Draft::default();
            ask(What::Create { key: 0, draft, validate_only: false, wait: 0 })
        };
        let say = |verb, words| ask(What::Verb { verb, words });
        let tell = |verb| say(verb, Words::default());
        let some = Words { amount: 2, pieces: 1, ..Words::default() };
        match tale % 4 {
            0 => vec![
                create(),
                tell(Operation::Pay),
                Self::Work,
                tell(Operation::Fulfill),
                Self::Work,
            ],
            1 => vec![
                create(),
                tell(Operation::Record),
                tell(Operation::Cancel),
                tell(Operation::Resolve),
            ],
            2 => {
                let part = Words { pieces: 0, ..some };
                let (capture, refund) =
                    (say(Operation::Capture, part), say(Operation::Refund, part));
                vec![
                    create(),
                    tell(Operation::Pay),
                    Self::Work,
                    capture,
                    Self::Work,
                    refund,
                    Self::Work,
                ]
            }
            _ => {
                let (fulfill, back) = (say(Operation::Fulfill, some), say(Operation::Return, some));
                vec![create(), tell(Operation::Record), fulfill, back, tell(Operation::Refund)]
            }
        }
    }
}

/// The sequence of this number under this seed, of so many steps on average.
pub(super) fn sequence(seed: u64, number: u64, steps: usize) -> impl ValueTree<Value = Vec<Step>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let all = prop::collection::vec(step(), 1..2 * steps.max(1));
    all.new_tree(&mut runner).expect("a sequence")
}

/// 0 most of the time.
fn mostly_well(most: u8) -> impl Strategy<Value = u8> {
    prop_oneof![9 => Just(0_u8), 2 => 0..most]
}

fn by() -> impl Strategy<Value = By> {
    let whose = prop_oneof![
        10 => Just(Whose::Own),
        10 => Just(Whose::Foreign),
        1 => Just(Whose::Nobodys),
    ];
    let credentials = (credential(), credential(), credential());
    (whose, credentials, any::<bool>()).prop_map(|(whose, (http, grpc, both), over_grpc)| By {
        whose,
        credentials: [http, grpc, both],
        grpc: over_grpc,
    })
}

fn credential() -> impl Strategy<Value = Credential> {
    (0..Credential::ALL.len()).prop_map(|at| Credential::ALL[at])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (by(), what()).prop_map(|(by, what)| Step::Ask { by, what }),
        4 => (by(), any::<u8>()).prop_map(|(by, asked)| Step::Again { by, asked }),
        3 => (by(), any::<u8>()).prop_map(|(by, tale)| Step::Tale { by, tale }),
        3 => Just(Step::Work),
        1 => any::<u8>().prop_map(Step::ProviderFails),
        1 => any::<u8>().prop_map(Step::StoreFails),
        1 => any::<u8>().prop_map(Step::Hours),
        1 => Just(Step::Forget),
    ]
}

fn what() -> impl Strategy<Value = What> {
    let create = (mostly_well(10), draft(), any::<u8>(), mostly_well(3));
    let items = prop::collection::vec((0_u8..8, draft()), 1..4);
    let verb = (0..Operation::VERBS.len()).prop_map(|at| Operation::VERBS[at]);
    prop_oneof![
        6 => create.prop_map(|(key, draft, validate, wait)| {
            What::Create { key, draft, validate_only: validate % 8 == 7, wait }
        }),
        3 => (0_u8..6, items).prop_map(|(key, items)| What::Batch { key, items }),
        18 => (verb, words()).prop_map(|(verb, words)| What::Verb { verb, words }),
        2 => (0_u8..4, 0_u8..6).prop_map(|(order, name)| What::Get { order, name }),
        3 => (0_u8..16, 0_u8..6, 0_u8..4).prop_map(|(filter, size, token)| {
            What::List { filter, size, token }
        }),
        2 => (0_u8..4, 0_u8..6, 0_u8..5).prop_map(|(order, size, token)| {
            What::History { order, size, token }
        }),
        2 => (any::<u8>(), 0_u8..5).prop_map(|(after, limit)| What::Feed { after, limit }),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    let flaws = prop::collection::vec(any::<u8>(), 1..3);
    let flaws = prop_oneof![3 => Just(Vec::<u8>::new()), 1 => flaws];
    (0_u16..1 << 11, mostly_well(5), flaws).prop_map(|(kind, reference, flaws)| Draft {
        kind,
        reference,
        flaws,
    })
}

fn words() -> impl Strategy<Value = Words> {
    let said = (0_u8..4, mostly_well(6), mostly_well(10), mostly_well(7), mostly_well(6));
    let asked = (mostly_well(11), mostly_well(11), mostly_well(6), mostly_well(5), mostly_well(3));
    (said, asked).prop_map(|(said, asked)| {
        let (order, name, key, etag, text) = said;
        let (pieces, amount, token, outcome, wait) = asked;
        Words { order, name, key, etag, text, pieces, amount, token, outcome, wait }
    })
}
