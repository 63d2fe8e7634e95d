//! Which node listens where, and the command line that starts it.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use super::super::{Failure, UNEXPECTED};

/// The ports of a demo that was told none.
const PORT_BASES_DEFAULT: [u16; 3] = [8080, 7000, 9000];

/// What is to be started.
pub(super) struct Plan {
    /// This program.
    pub(super) program: PathBuf,
    /// The nodes, ids 1 and up.
    pub(super) nodes: Vec<NodePlan>,
}

/// One node's place.
#[derive(Clone, Debug)]
pub(super) struct NodePlan {
    /// Its id.
    pub(super) id: u16,
    /// Where REST listens.
    pub(super) http: SocketAddr,
    /// Where peers connect.
    pub(super) peer: SocketAddr,
    /// Where gRPC listens.
    pub(super) grpc: SocketAddr,
}

impl Plan {
    /// Gives each node its ports.
    pub(super) fn new(nodes: u16, port_base: Option<u16>) -> Result<Plan, Failure> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(UNEXPECTED, format!("cannot find this program's own file: {error}"))
        })?;
        let bases = match port_base {
            None => PORT_BASES_DEFAULT.map(u32::from),
            Some(base) => [0, 100, 200].map(|offset| u32::from(base) + offset),
        };
        let highest = bases.into_iter().max().unwrap_or_default() + u32::from(nodes);
        if highest > u32::from(u16::MAX) {
            let base_max = u16::MAX - 200 - nodes;
            return Err(Failure::usage(format!(
                "--port-base: port {highest} does not exist: use {base_max} or less"
            )));
        }
        let address = |base: u32, id: u16| {
            let port = u16::try_from(base).unwrap_or(u16::MAX) + id;
            SocketAddr::from((Ipv4Addr::LOCALHOST, port))
        };
        let [http, peer, grpc] = bases;
        let node =
            |id| NodePlan { id, http: address(http, id), peer: address(peer, id), grpc: address(grpc, id) };
        Ok(Plan { program, nodes: (1..=nodes).map(node).collect() })
    }

    /// Checks that nobody listens on any of the ports. Nothing has been started yet, so nothing is left behind.
    pub(super) fn check_ports(&self) -> Result<(), Failure> {
        for node in &self.nodes {
            for (what, address) in [("REST", node.http), ("peer", node.peer), ("gRPC", node.grpc)] {
                if let Err(error) = TcpListener::bind(address) {
                    return Err(Failure::usage(format!(
                        "cannot use {address}, the {what} port of node {}: {error}; stop what listens there, or \
                         choose other ports with --port-base",
                        node.id
                    )));
                }
            }
        }
        Ok(())
    }

    /// The arguments that start a node: at first by the demo, later by hand.
    pub(super) fn arguments(&self, node: &NodePlan, data_dir: &Path) -> Vec<OsString> {
        let members: Vec<String> =
            self.nodes.iter().map(|node| format!("{}={}", node.id, node.peer)).collect();
        let mut arguments: Vec<OsString> = vec!["serve".into()];
        let mut say = |flag: &str, value: OsString| arguments.extend([flag.into(), value]);
        say("--id", node.id.to_string().into());
        say("--data-dir", data_dir.into());
        say("--http", node.http.to_string().into());
        say("--peer", node.peer.to_string().into());
        say("--grpc", node.grpc.to_string().into());
        say("--initial-cluster", members.join(",").into());
        arguments
    }
}

/// A command as a POSIX shell reads it back, with its log lines appended to `log`.
pub(super) fn shell_line(program: &Path, arguments: &[OsString], log: &Path) -> String {
    let words = std::iter::once(program.as_os_str()).chain(arguments.iter().map(OsString::as_os_str));
    let words: Vec<String> = words.map(|word| shell_word(&word.to_string_lossy())).collect();
    format!("{} 2>> {}", words.join(" "), shell_word(&log.to_string_lossy()))
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(plan: &Plan) -> Vec<[u16; 3]> {
        plan.nodes.iter().map(|node| [node.http.port(), node.peer.port(), node.grpc.port()]).collect()
    }

    #[test]
    fn ports_are_as_documented() {
        let plan = Plan::new(3, None).expect("the default");
        assert_eq!(ports(&plan), [[8081, 7001, 9001], [8082, 7002, 9002], [8083, 7003, 9003]]);
        let plan = Plan::new(2, Some(20_000)).expect("there are such ports");
        assert_eq!(ports(&plan), [[20_001, 20_101, 20_201], [20_002, 20_102, 20_202]]);
    }

    #[test]
    fn ports_beyond_the_last_are_refused() {
        assert!(Plan::new(7, Some(65_328)).is_ok(), "65535 is the last one used");
        let failure = Plan::new(7, Some(65_329)).err().expect("65536 is no port");
        assert!(failure.text.contains("use 65328 or less"), "{}", failure.text);
        assert_eq!(failure.code, super::super::USAGE);
    }

    #[test]
    fn a_port_in_use_is_named() {
        // The kernel's choice stands for the gRPC port of node 1, which is checked last.
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = taken.local_addr().expect("it is bound").port();
        let mut plan = Plan::new(1, None).expect("the default");
        let free = |_| TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
        (plan.nodes[0].http, plan.nodes[0].peer) = (free(0), free(1));
        plan.nodes[0].grpc.set_port(port);
        let failure = plan.check_ports().expect_err("somebody listens there");
        assert!(
            failure.text.contains(&format!("127.0.0.1:{port}, the gRPC port of node 1")),
            "{}",
            failure.text
        );
        drop(taken);
        assert_eq!(plan.check_ports(), Ok(()));
    }

    #[test]
    fn the_line_can_be_pasted_into_a_shell() {
        let plan = Plan::new(2, None).expect("the default");
        let arguments = plan.arguments(&plan.nodes[1], Path::new("/tmp/it's here/node2"));
        assert_eq!(
            shell_line(Path::new("/bin/quorate"), &arguments, Path::new("/tmp/it's here/node2/node.log")),
            r"/bin/quorate serve --id 2 --data-dir '/tmp/it'\''s here/node2' --http 127.0.0.1:8082 --peer 127.0.0.1:7002 --grpc 127.0.0.1:9002 --initial-cluster 1=127.0.0.1:7001,2=127.0.0.1:7002 2>> '/tmp/it'\''s here/node2/node.log'"
        );
        assert_eq!(shell_word(""), "''");
    }
}
