//! The page of a comparison.

use super::super::compare::tally::{Cell, Comparison, HEADER, row};
use super::super::compare::{Contender, Load, load_name};
use super::super::text;
use super::chart::{Bar, bars};
use super::page::{card, escape, page, table};

/// The page.
pub(in super::super) fn compare(comparison: &Comparison) -> String {
    let warning = |note: String| format!("<p class=\"warn\">{}</p>\n", escape(&note));
    let mut body = super::super::result::debug_build().map_or_else(String::new, warning);
    for load in [Load::Put, Load::Get] {
        let cards: String = comparison
            .loads()
            .into_iter()
            .filter(|(of, _)| *of == load)
            .map(|(load, clients)| cards(load, clients, &comparison.cells(load, clients)))
            .collect();
        body.push_str(&cards);
    }
    for (load, clients) in comparison.loads() {
        let rows: Vec<Vec<String>> = comparison.cells(load, clients).iter().map(row).collect();
        body.push_str(&card(&heading(load, clients), "", &table(&HEADER.map(str::to_owned), &rows)));
    }
    body.push_str(&format!(
        "<footer>quorate bench compare {}, {}; all ran on {}. Ratios are medians of the ratios within rounds. CPU and bytes \
         written are of all nodes together, for each request.</footer>\n",
        escape(&comparison.version),
        text::moment(comparison.unix_s),
        escape(&comparison.machine.summary())
    ));
    page("etcd and Quorate", &comparison.summary(), &body)
}

fn heading(load: Load, clients: usize) -> String {
    let what = match load {
        Load::Put => "Writes",
        Load::Get => "Linearizable reads",
    };
    format!("{what} ({}), {clients} {}", load_name(load), if clients == 1 { "client" } else { "clients" })
}

/// Throughput and latency side by side.
fn cards(load: Load, clients: usize, cells: &[Cell]) -> String {
    let heading = heading(load, clients);
    let to_etcd = |ratio: Option<f64>, contender: Contender| match ratio {
        Some(ratio) if contender != Contender::Etcd => format!("{} etcd", text::ratio(ratio)),
        _ => String::new(),
    };
    let bar = |cell: &Cell, value: f64, text: String, ratio: Option<f64>| Bar {
        name: cell.contender.name().to_owned(),
        colour: colour(cell.contender),
        value,
        text,
        note: to_etcd(ratio, cell.contender),
    };
    let rates: Vec<Bar> = cells
        .iter()
        .map(|cell| {
            let rate = cell.median.rate;
            bar(cell, rate, format!("{}/s", text::rate(rate)), cell.rate_to_etcd)
        })
        .collect();
    let latencies: Vec<Bar> = cells
        .iter()
        .map(|cell| {
            let us = cell.median.p99_us;
            bar(cell, us, text::micros(us), cell.p99_to_etcd)
        })
        .collect();
    format!(
        "<div class=\"two\">{}{}</div>\n",
        card(&heading, "Requests a second: longer is better", &bars(&rates)),
        card(&heading, "p99: shorter is better", &bars(&latencies))
    )
}

fn colour(contender: Contender) -> usize {
    match contender {
        Contender::Etcd => 1,
        Contender::EtcdApi => 3,
        Contender::Grpc => 0,
        Contender::Library => 2,
        Contender::Rest => 4,
        Contender::Ceiling => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::compare::tally::tests::comparison;
    use super::*;

    #[test]
    fn a_page_has_everybody_and_the_ratios() {
        let html = compare(&comparison());
        for part in [
            "etcd and Quorate",
            "quorate, gRPC",
            "4.00\u{d7} etcd",
            "Writes (put), 64 clients",
            "of ceiling",
            "800/s",
        ] {
            assert!(html.contains(part), "{part} is not there");
        }
        assert!(
            !html.contains("NaN") && !html.contains("http://") && !html.contains("<script"),
            "it is self-contained"
        );
    }
}
