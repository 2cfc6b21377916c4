//! Apache Kafka: brokers of one cluster on one machine, without ZooKeeper.

mod metadata;
mod tls;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    slice,
};

use self::tls::PROTOCOLS;
pub use self::tls::Tls;
use super::{
    directory::Directory,
    named_by,
    process::{self, Place, Process},
};
use crate::port;

/// Any 16 bytes in base64.
const CLUSTER: &str = "b3JkZXJseS10ZXN0cy0wMQ";

/// A cluster of brokers, each of them a controller too: it goes on while most of them run. Dropping it
/// kills them.
#[derive(Debug)]
pub struct Kafka {
    bootstrap: String,
    /// None of a cluster that the environment named. Before the directory, so that the brokers end
    /// before their files do.
    brokers: Vec<Broker>,
    tls: Option<Tls>,
    directory: Directory,
}

#[derive(Debug)]
struct Broker {
    process: Place,
    node: usize,
    port: u16,
    controller_port: u16,
}

impl Kafka {
    /// Starts a cluster of so many brokers, and returns once each of them knows all.
    pub fn start(brokers: usize) -> Self {
        let directory = Directory::new("kafka");
        if let Some(bootstrap) = named_by("ORDERLY_TEST_KAFKA") {
            return Self { bootstrap, brokers: Vec::new(), tls: None, directory };
        }
        Self::started(brokers, None, directory)
    }

    /// Starts one broker that also listens behind [TLS](Self::tls).
    pub fn start_with_tls() -> Self {
        let directory = Directory::new("kafka");
        let tls = Tls::new(&directory);
        Self::started(1, Some(tls), directory)
    }

    fn started(brokers: usize, tls: Option<Tls>, directory: Directory) -> Self {
        let brokers: Vec<_> = (0..brokers)
            .map(|node| Broker {
                process: Place::default(),
                node,
                port: port::free(),
                controller_port: port::free(),
            })
            .collect();
        let addresses: Vec<_> =
            brokers.iter().map(|broker| format!("127.0.0.1:{}", broker.port)).collect();
        let kafka = Self { bootstrap: addresses.join(","), brokers, tls, directory };
        for broker in &kafka.brokers {
            kafka.format(broker);
            kafka.launch(broker);
        }
        for broker in &kafka.brokers {
            broker.until_it_knows(&kafka.brokers);
        }
        kafka
    }

    /// The addresses of all brokers, as clients want them.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// How it is reached behind TLS.
    ///
    /// # Panics
    /// When it was started without.
    pub fn tls(&self) -> &Tls {
        self.tls.as_ref().expect("a Kafka that was started with TLS")
    }

    /// Where its files are: for each broker its settings, its log and its data.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Makes a topic, with settings such as `("min.insync.replicas", "2")`.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: usize,
        replication: usize,
        settings: &[(&str, &str)],
    ) {
        let mut tool = self.topic_tool();
        tool.args(["--create", "--topic", name])
            .args(["--partitions", &partitions.to_string()])
            .args(["--replication-factor", &replication.to_string()]);
        for (name, value) in settings {
            tool.arg("--config").arg(format!("{name}={value}"));
        }
        process::output(&mut tool);
    }

    /// The names of all topics, its own apart.
    pub fn topics(&self) -> Vec<String> {
        let list = process::output(self.topic_tool().args(["--list", "--exclude-internal"]));
        list.lines().map(str::to_owned).collect()
    }

    /// The first so many records of a topic, each as a line of its headers, its key and its value with
    /// tabs between.
    pub fn read(&self, topic: &str, count: usize) -> Vec<String> {
        let mut tool = tool("org.apache.kafka.tools.consumer.ConsoleConsumer");
        tool.args(["--bootstrap-server", &self.bootstrap, "--topic", topic])
            .args(["--from-beginning", "--max-messages", &count.to_string()])
            .args(["--timeout-ms", "60000"])
            .args(["--formatter-property", "print.headers=true"])
            .args(["--formatter-property", "print.key=true"]);
        process::output(&mut tool).lines().map(str::to_owned).collect()
    }

    /// Writes records to a topic, each given as [`read`](Self::read) gives it.
    pub fn write(&self, topic: &str, records: &[String]) {
        let file = self.directory.path().join("records");
        fs::write(&file, records.join("\n")).expect("a file");
        let mut tool = tool("org.apache.kafka.tools.ConsoleProducer");
        tool.args(["--bootstrap-server", &self.bootstrap, "--topic", topic])
            .args(["--reader-property", "parse.headers=true"])
            .args(["--reader-property", "parse.key=true"]);
        process::output_from(&mut tool, fs::File::open(file).expect("the file"));
    }

    /// Stops a broker in order: it hands its partitions over first.
    pub fn stop_broker(&self, node: usize) {
        self.brokers[node].process.empty("TERM");
    }

    /// Kills a broker.
    pub fn kill_broker(&self, node: usize) {
        self.brokers[node].process.empty("KILL");
    }

    /// Starts a broker that was stopped or killed, and returns once it serves.
    pub fn start_broker(&self, node: usize) {
        let broker = &self.brokers[node];
        self.launch(broker);
        broker.until_it_knows(slice::from_ref(broker));
    }

    fn launch(&self, broker: &Broker) {
        let directory = self.directory.path();
        // Nothing is to be kept when the tests are gone, so it need not stop in order then.
        let mut server = process::command_as_self(Path::new("java"), "KILL", directory);
        server
            .args(JVM)
            .args(["-Xmx384m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=info", "-cp"])
            .arg(classes())
            .arg("kafka.Kafka")
            .arg(self.settings_file(broker));
        let log = directory.join(format!("{}.log", broker.node));
        broker.process.fill(|| Process::start("Kafka", server, &log));
    }

    /// Writes a broker's settings, and readies its directory.
    fn format(&self, broker: &Broker) {
        let file = self.settings_file(broker);
        fs::write(&file, self.settings(broker)).expect("a broker's settings");
        let mut tool = tool("kafka.tools.StorageTool");
        tool.args(["format", "--cluster-id", CLUSTER, "--config"]).arg(file);
        if self.tls.is_some() {
            tool.args(Tls::user());
        }
        process::output(&mut tool);
    }

    fn settings_file(&self, broker: &Broker) -> PathBuf {
        self.directory.path().join(format!("{}.properties", broker.node))
    }

    fn settings(&self, broker: &Broker) -> String {
        let Broker { node, port, controller_port, .. } = broker;
        let data = self.directory.path().join(node.to_string());
        let voters: Vec<_> = self
            .brokers
            .iter()
            .map(|voter| format!("{}@127.0.0.1:{}", voter.node, voter.controller_port))
            .collect();
        let replicas = self.brokers.len().min(3);
        let in_sync = replicas.div_ceil(2);
        let tls = self.tls.as_ref().map(|tls| (tls.listeners(), tls.settings()));
        let (secure, more) = tls.unwrap_or_default();
        format!(
            "process.roles=broker,controller
node.id={node}
controller.quorum.voters={}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port}{secure},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{secure}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,{PROTOCOLS}
log.dirs={}
num.network.threads=2
num.io.threads=4
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
{more}",
            voters.join(","),
            data.display()
        )
    }

    fn topic_tool(&self) -> Command {
        let mut tool = tool("org.apache.kafka.tools.TopicCommand");
        tool.args(["--bootstrap-server", &self.bootstrap]);
        tool
    }
}

impl Broker {
    /// Returns once it serves and names all of these.
    fn until_it_knows(&self, brokers: &[Self]) {
        self.process.until(|| {
            let known = metadata::brokers(self.port);
            brokers.iter().all(|broker| broker.is_in(&known))
        });
    }

    fn is_in(&self, nodes: &[i32]) -> bool {
        nodes.iter().any(|node| usize::try_from(*node) == Ok(self.node))
    }
}

/// Starts fast rather than running fast.
const JVM: [&str; 3] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"];

/// A program of Kafka's own. It logs warnings only.
fn tool(class: &str) -> Command {
    let mut command = Command::new("java");
    command
        .args(JVM)
        .args(["-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"])
        .arg(classes())
        .arg(class);
    command
}

/// The class path: what `scripts/kafka` brought here.
fn classes() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/kafka/lib");
    assert!(folder.exists(), "Kafka is missing; run `make setup`");
    format!("{}/*", folder.display())
}
