//! The commands that ask a cluster, as a shell runs them: what they print, and with which code they end.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::Cluster;
use crate::harness::cluster::Directory;
use crate::harness::lossy::Lossy;
use crate::harness::node::command;
use crate::harness::poll::{PATIENCE, poll_until};
use crate::harness::run::{Ended, run};

const NOT_SO: i32 = 1;
const USAGE: i32 = 2;
const UNAVAILABLE: i32 = 3;
const UNKNOWN: i32 = 4;

/// A shell in a directory of its own, with the variables of one who uses the cluster.
struct Shell {
    directory: Directory,
    endpoints: String,
}

impl Shell {
    fn new(name: &str, cluster: &Cluster, ids: &[u64]) -> Shell {
        let endpoints: Vec<String> = ids.iter().map(|id| cluster.slot().grpc(*id)).collect();
        Shell { directory: Directory::new(name), endpoints: endpoints.join(",") }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = command();
        command.args(arguments).env("QUORATE_ENDPOINTS", &self.endpoints);
        // Not the file of whoever runs the tests.
        command.env("XDG_CONFIG_HOME", self.directory.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        run(self.directory.path(), self.command(arguments))
    }

    /// Runs what must succeed, and says what it printed.
    fn says(&self, arguments: &[&str]) -> String {
        self.run(arguments).expect(0, &[]).stdout
    }

    /// The same with standard input.
    fn told(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let path = self.file("input", input);
        let mut command = self.command(arguments);
        command.stdin(File::open(path).expect("readable"));
        run(self.directory.path(), command)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).expect("the test's directory is writable");
        path
    }

    /// What the last command printed, byte by byte.
    fn printed(&self) -> Vec<u8> {
        std::fs::read(self.directory.path().join("stdout")).expect("readable")
    }

    /// What is printed in JSON, line by line.
    fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.says(&[arguments, &["-o", "json"]].concat());
        text.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
    }
}

#[test]
fn keys_are_set_read_listed_and_removed() {
    let mut cluster = Cluster::start("cli-keys", 3);
    let leader = cluster.wait_ready();
    let follower = cluster.ids_without(&[leader])[0];
    // One that follows is enough: the others are learnt.
    let shell = Shell::new("cli-keys-shell", &cluster, &[follower]);

    assert_eq!(shell.says(&["set", "user:1001", "John Doe"]), "set at revision 2\n");
    assert_eq!(shell.says(&["get", "user:1001"]), "John Doe", "no newline where there is no terminal");
    shell.run(&["get", "nobody"]).expect(NOT_SO, &["quorate: no such key: nobody"]);
    assert_eq!(shell.says(&["get", "user:1001", "--meta", "-o", "plain"]), "user:1001\t2\t2\t1\t8\n");
    let stale = ["get", "user:1001", "--consistency", "stale", "--min-revision", "2"];
    assert_eq!(shell.says(&stale), "John Doe");
    shell.run(&["set", "user:1001", "x", "--create"]).expect(NOT_SO, &["condition_failed"]);
    shell.run(&["set", "user:1001", "x", "--if-revision", "9"]).expect(NOT_SO, &["condition_failed"]);
    let replaced = &shell.json(&["set", "user:1001", "Jane", "--if-revision", "2", "--previous"])[0];
    assert_eq!((&replaced["revision"], &replaced["previous"]["value"]), (&json!(3), &json!("John Doe")));

    shell.run(&["cas", "user:1001", "John Doe", "x"]).expect(NOT_SO, &["another value, of revision 3"]);
    shell.run(&["cas", "nobody", "a", "b"]).expect(NOT_SO, &["no such key"]);
    assert_eq!(shell.says(&["cas", "user:1001", "Jane", "Jane Doe", "-o", "plain"]), "4\n");

    let pairs: Vec<String> = (0..1_200).map(|at| format!("put many/{at:04} \"v {at}\"")).collect();
    for part in pairs.chunks(100) {
        shell.told(&["txn", "-o", "plain"], part.join("\n").as_bytes()).expect(0, &[]);
    }
    let listed = shell.says(&["list", "many/", "-o", "plain"]);
    assert_eq!(listed.lines().count(), 1_200, "more than a page");
    assert!(listed.ends_with("many/1199\tv 1199\n"));
    assert_eq!(
        shell.says(&["list", "--from", "many/0003", "--to", "many/0005", "--keys", "-o", "plain"]),
        "many/0003\nmany/0004\n"
    );
    assert_eq!(shell.json(&["list", "many/", "--limit", "2"])[1]["value"], "v 1");
    let table = shell.says(&["list", "user:"]);
    assert_eq!(table, "KEY        REVISION  VERSION  VALUE\nuser:1001         4        3  Jane Doe\n");

    shell.run(&["del", "nobody"]).expect(NOT_SO, &["no such key"]);
    assert_eq!(shell.says(&["del", "user:1001", "-o", "plain"]), "1\n");
    assert_eq!(shell.json(&["del", "--range", "many/0000", "many/0010"])[0]["deleted"], 10);
    assert!(shell.says(&["del", "many/", "--prefix"]).starts_with("1190 keys removed at revision "));
    shell.run(&["del", "", "--prefix"]).expect(USAGE, &["--yes"]);
    assert_eq!(shell.says(&["del", "", "--prefix", "--yes"]), "nothing to remove\n");
}

#[test]
fn values_are_bytes() {
    let mut cluster = Cluster::start("cli-bytes", 1);
    cluster.wait_ready();
    let shell = Shell::new("cli-bytes-shell", &cluster, &[1]);
    let bytes: Vec<u8> = (0..=255).chain(*b"\n").collect();
    shell.told(&["set", "stdin", "-"], &bytes).expect(0, &[]);
    shell.says(&["get", "stdin"]);
    assert_eq!(shell.printed(), bytes);
    let path = shell.file("value", &bytes);
    shell.says(&["set", "file", "--file", path.to_str().expect("text")]);
    shell.says(&["get", "file", "-o", "plain"]);
    assert_eq!(shell.printed(), bytes);
    assert_eq!(shell.json(&["get", "file"])[0]["encoding"], "base64");
    shell.says(&["set", "-e", "k\\x00\\xff", "a\\tb"]);
    assert_eq!(shell.says(&["list", "k", "-o", "plain"]), "k\\x00\\xff\ta\\tb\n");
    assert_eq!(shell.says(&["get", "-e", "k\\x00\\xff"]), "a\tb");

    // Who reads no more ends it, and that is no failure.
    let large = shell.file("large", &vec![b'v'; 1 << 20]);
    shell.says(&["set", "large", "--file", large.to_str().expect("text")]);
    let mut child =
        shell.command(&["get", "large"]).stdout(Stdio::piped()).spawn().expect("the binary starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    let full =
        shell.command(&["get", "large"]).stdout(File::create("/dev/full").expect("it is there")).output();
    let full = full.expect("the binary starts");
    assert_eq!(full.status.code(), Some(5), "{full:?}");
}

#[test]
fn transactions_do_one_or_the_other() {
    let mut cluster = Cluster::start("cli-txn", 1);
    cluster.wait_ready();
    let shell = Shell::new("cli-txn-shell", &cluster, &[1]);
    let lock = ["txn", "if absent lock then put lock me else get lock"];
    assert_eq!(shell.says(&lock), "then, at revision 2\n1. put\n");
    let second = shell.run(&lock).expect(NOT_SO, &["a comparison did not hold"]);
    assert!(second.stdout.starts_with("else, at revision 2\n1. get: 1 found\nKEY "), "{second:?}");
    let text = b"if\n  value lock = \"me\"  # mine\n  version lock > 0\nthen\n  if exists other then get other else put other \"\\xff\" end\n  del lock previous\nend\n";
    let answer = shell.told(&["txn", "-o", "json"], text).expect(0, &[]);
    let answer: Value = serde_json::from_str(&answer.stdout).expect("an object");
    assert_eq!((&answer["succeeded"], &answer["revision"]), (&json!(true), &json!(3)));
    assert_eq!(answer["answers"][0], json!({"succeeded": false, "answers": [{"previous": null}]}));
    assert_eq!(answer["answers"][1]["previous"][0]["value"], "me");
    let path = shell.file("script", b"get prefix o count\n");
    assert_eq!(shell.says(&["txn", "--file", path.to_str().expect("text"), "-o", "plain"]), "1\n");
    shell
        .told(&["txn"], b"get a\nput b\n")
        .expect(USAGE, &["the transaction, line 2, column 6: the value is missing"]);
    shell.run(&["txn", "put a 1; put a 2"]).expect(USAGE, &["quorate: "]);
}

#[test]
fn the_group_is_shown_and_changed() {
    let mut cluster = Cluster::start("cli-group", 3);
    let leader = cluster.wait_ready();
    let others = cluster.ids_without(&[leader]);
    let shell = Shell::new("cli-group-shell", &cluster, &cluster.ids());
    shell.says(&["set", "k", "v"]);
    let members = shell.json(&["member", "list"]);
    assert_eq!(members.iter().filter(|member| member["leader"] == true).count(), 1);
    let status = shell.json(&["status"]);
    assert_eq!(status.len(), 3);
    for node in &status {
        assert_eq!((&node["reachable"], &node["leader"]), (&json!(true), &json!(node["id"] == leader)));
        assert!(node["lag"].is_u64() && node["version"].is_string(), "{node}");
    }
    assert!(shell.says(&["status"]).contains("leader *"));

    // To where it is not: whoever leads by now.
    let to = others[0].to_string();
    let transferred = shell.json(&["leader", "transfer", &to]);
    assert!(transferred.iter().any(|member| member["id"] == others[0] && member["leader"] == true));
    shell.run(&["leader", "transfer", "9"]).expect(NOT_SO, &["no_such_member"]);
    let added = shell.json(&["member", "add", "127.0.0.1:1", "--learner", "--id", "7"]);
    assert!(added.iter().any(|member| member["id"] == 7 && member["role"] == "learner"), "{added:?}");
    shell.run(&["member", "add", "127.0.0.1:2", "--id", "7"]).expect(NOT_SO, &["member_exists"]);
    shell.says(&["member", "update", "7", "--peer", "127.0.0.1:3"]);
    let removed = shell.says(&["member", "remove", "7", "-o", "plain"]);
    assert_eq!(removed.lines().count(), 3);
    shell.run(&["member", "add", "127.0.0.1:2", "--id", "7"]).expect(NOT_SO, &["id_retired"]);
    shell.run(&["member", "promote", "7"]).expect(NOT_SO, &["no_such_member"]);
}

#[test]
fn what_became_of_it_is_the_exit_code() {
    let mut cluster = Cluster::start("cli-loss", 3);
    cluster.wait_ready();
    let shell = Shell::new("cli-loss-shell", &cluster, &cluster.ids());
    shell.says(&["set", "k", "v"]);
    cluster.node_mut(1).kill();
    cluster.wait_leader_among(&[2, 3]);
    assert_eq!(shell.says(&["get", "k"]), "v");
    // The new leader's state may be news to the one that follows it.
    let lines = poll_until("a status with a leader", PATIENCE, || {
        let ended = shell.run(&["status", "-o", "plain"]);
        (ended.code == Some(0)).then_some(ended.stdout)
    });
    assert!(lines.starts_with("1\tunreachable\t-\t"), "{lines}");
    cluster.node_mut(2).kill();
    shell.run(&["set", "k", "w", "--timeout", "1s"]).expect(UNAVAILABLE, &["quorate: "]);
    shell.run(&["get", "k", "--timeout", "1s"]).expect(UNAVAILABLE, &["deadline"]);
    assert_eq!(shell.says(&["get", "k", "--consistency", "stale"]), "v");
    // Whether a change without a session was proposed before the leader gave up is a matter of moments; that it is told is not.
    let removed = shell.run(&["member", "remove", "2", "--force", "--timeout", "1s"]);
    let is_unknown = removed.stderr.contains("whether it was executed is unknown");
    removed.expect(if is_unknown { UNKNOWN } else { UNAVAILABLE }, &["quorate: "]);
    poll_until("a status without a quorum", PATIENCE, || {
        let ended = shell.run(&["status"]);
        (ended.code == Some(UNAVAILABLE)).then(|| ended.expect(UNAVAILABLE, &["no quorum is seen"]))
    });
    cluster.node_mut(3).kill();
    shell
        .run(&["get", "k", "--timeout", "1s"])
        .expect(UNAVAILABLE, &["none of the endpoints answered", "--endpoints"]);
}

/// The write arrives, its answer does not. (Where nobody acknowledges anything, it is 3 instead: a write is sent when its session
/// is open, and there none comes to be.)
#[test]
fn a_write_whose_answer_is_lost_is_unknown() {
    const VALUE: &str = "its answer is lost";
    let mut cluster = Cluster::prepare("cli-unknown", 1, false);
    // What the node says of itself leads through the relay, too: there is no way around it.
    let relay = cluster.slot().relay(1);
    cluster.node_mut(1).set_flag("--advertise-grpc", &relay);
    let lossy = Lossy::open(&relay, &cluster.node(1).grpc, VALUE.as_bytes());
    cluster.start_all();
    cluster.wait_ready();
    let shell = Shell { directory: Directory::new("cli-unknown-shell"), endpoints: relay };
    assert_eq!(shell.says(&["set", "before", "v"]), "set at revision 2\n");
    let ended = shell.run(&["set", "k", VALUE, "--timeout", "8s"]);
    assert!(lossy.has_lost(), "the write was never sent: {ended:?}");
    ended.expect(
        UNKNOWN,
        &["quorate: ", "whether it was executed is unknown", "find out before you repeat it"],
    );
    let client = cluster.client(1);
    poll_until("the write whose answer was lost", PATIENCE, || {
        (client.value("k").as_deref() == Some(VALUE)).then_some(())
    });
    assert_eq!(client.set("after", "v"), 4, "it was done once, however often it was sent");
}

#[test]
fn settings_come_from_flags_variables_and_a_file() {
    let mut cluster = Cluster::start("cli-settings", 1);
    cluster.wait_ready();
    let shell = Shell::new("cli-settings-shell", &cluster, &[1]);
    shell.says(&["set", "k", "v"]);
    let text = format!("id = 1\n[client]\nendpoints = [\"{}\"]\noutput = \"json\"\n", shell.endpoints);
    let path = shell.file("client.toml", text.as_bytes());
    let path = path.to_str().expect("text");
    let with = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = shell.command(arguments);
        command.env_remove("QUORATE_ENDPOINTS").envs(variables.iter().copied());
        run(shell.directory.path(), command)
    };
    assert!(with(&["get", "k", "--config", path], &[]).expect(0, &[]).stdout.starts_with("{\"key\":\"k\""));
    let variables = [("QUORATE_CONFIG", path), ("QUORATE_OUTPUT", "table")];
    assert!(with(&["get", "k"], &variables).expect(0, &[]).stdout.starts_with("KEY "));
    assert_eq!(with(&["get", "k", "-o", "plain"], &variables).expect(0, &[]).stdout, "v");
    let own = shell.directory.path().join("quorate");
    std::fs::create_dir(&own).expect("writable");
    std::fs::copy(path, own.join("client.toml")).expect("writable");
    assert!(
        with(&["get", "k"], &[]).expect(0, &[]).stdout.starts_with("{\"key\":\"k\""),
        "the user's own file"
    );
    let bad = shell.file("bad.toml", b"[client]\nendpoint = \"a:1\"\n");
    let bad = bad.to_str().expect("text");
    with(&["get", "k", "--config", bad], &[]).expect(USAGE, &["bad.toml: line 2: unknown field `endpoint`"]);

    // There is no terminal here.
    let colours = [
        ("auto", "", false),
        ("auto", "NO_COLOR", false),
        ("auto", "CLICOLOR_FORCE", true),
        ("auto", "CLICOLOR_FORCE NO_COLOR", false),
        ("always", "", true),
        ("always", "NO_COLOR", true),
        ("never", "CLICOLOR_FORCE", false),
    ];
    for (when, names, is_coloured) in colours {
        let variables: Vec<_> = names.split_whitespace().map(|name| (name, "1")).collect();
        let table = with(&["list", "-o", "table", "--color", when], &variables).expect(0, &[]).stdout;
        let begin = if is_coloured { "\u{1b}[1mKEY" } else { "KEY " };
        assert!(table.starts_with(begin), "--color {when}, {names}: {table:?}");
        assert_eq!(table.contains('\u{1b}'), is_coloured, "--color {when}, {names}: {table:?}");
    }
    assert!(with(&["completion", "bash"], &[]).expect(0, &[]).stdout.contains("_quorate()"));
}
