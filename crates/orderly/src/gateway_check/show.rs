//! What was found, as people and programs read it.

use serde_json::{Value, json};

use super::facts::{Evidence, Fact, Report, Trouble};
use crate::console::say;

pub(super) fn table(url: &str, report: &Report) {
    say(&format!("gateway contract 1 against {url}"));
    let mut part = "";
    for fact in &report.facts {
        if fact.part != part {
            part = fact.part;
            say(&format!("\n{part}"));
        }
        say(&one(fact));
    }
    say("\nnot looked at");
    for unseen in &report.unseen {
        say(&format!("  -        {unseen}"));
    }
    let (ok, missing, unclear) = report.counts();
    say(&format!("\n{} facts: {ok} ok, {missing} missing, {unclear} unclear", report.facts.len()));
}

fn one(fact: &Fact) -> String {
    let name = fact.name;
    match &fact.checked {
        Ok(()) => format!("  ok       {name}"),
        Err(Trouble::Unclear(why)) => format!("  unclear  {name}\n           because   {why}"),
        Err(Trouble::Missing(evidence)) => {
            let Evidence { sent, came, wanted } = &**evidence;
            let contract = fact.contract;
            format!(
                "  MISSING  {name}\n           sent      {sent}\n           came      {came}\n\
                 \x20          wanted    {wanted}\n           contract  {contract}"
            )
        }
    }
}

pub(super) fn as_json(url: &str, report: &Report) -> Value {
    let fact = |fact: &Fact| {
        let mut told = json!({
            "part": fact.part,
            "fact": fact.name,
            "contract": fact.contract,
            "verdict": "ok",
        });
        match &fact.checked {
            Ok(()) => {}
            Err(Trouble::Unclear(why)) => {
                told["verdict"] = json!("unclear");
                told["because"] = json!(why);
            }
            Err(Trouble::Missing(evidence)) => {
                told["verdict"] = json!("missing");
                told["sent"] = json!(evidence.sent);
                told["came"] = json!(evidence.came);
                told["wanted"] = json!(evidence.wanted);
            }
        }
        told
    };
    let (ok, missing, unclear) = report.counts();
    json!({
        "url": url,
        "ok": ok,
        "missing": missing,
        "unclear": unclear,
        "facts": report.facts.iter().map(fact).collect::<Vec<_>>(),
        "not_looked_at": report.unseen,
    })
}
