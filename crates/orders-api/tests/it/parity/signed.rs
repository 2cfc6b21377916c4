//! Who is told to have done what. Where services are shown credentials of different principals, these names
//! differ as they should: so they are taken out of what is compared, and each is held against who asked.

use std::collections::BTreeSet;

use orders::ports::{Dossier, Told};
use serde_json::Value;

use super::asked::Asked;

/// An order, one of its versions, and who is told to have made that.
type Name = (String, u64, String);

/// What one service was asked by whom, and told of it.
#[derive(Debug, Default)]
pub(super) struct Signed {
    /// The subject of whoever asked, by the number of the request.
    asked: Vec<&'static str>,
    told: BTreeSet<Name>,
}

impl Signed {
    /// Takes the names out of the answer to a request, the next one.
    pub(super) fn take(&mut self, asked: &Asked, answer: &mut Value) {
        self.asked.push(asked.credential.subject());
        let body = &mut answer["body"];
        self.take_each(&asked.order, body.get_mut("entries"), "actor");
        self.take_authors(body);
        let results = body.get_mut("results").and_then(Value::as_array_mut);
        for result in results.into_iter().flatten() {
            if let Some(order) = result.get_mut("order") {
                self.take_authors(order);
            }
        }
    }

    /// The same of the notes of an order.
    fn take_authors(&mut self, order: &mut Value) {
        let id = order["id"].as_str().unwrap_or_default().to_owned();
        self.take_each(&id, order.get_mut("notes"), "author");
    }

    /// The same of a list of what was done to an order.
    fn take_each(&mut self, order: &str, list: Option<&mut Value>, field: &str) {
        for one in list.and_then(Value::as_array_mut).into_iter().flatten() {
            let version = one["version"].as_u64().unwrap_or_default();
            let name = one[field].take();
            let name = name.as_str().unwrap_or_default().to_owned();
            self.told.insert((order.to_owned(), version, name));
        }
    }

    /// Takes the names out of what is stored. Of what was asked for they must be those of who asked; and no
    /// other names may have been told.
    pub(super) fn check(&self, stored: &mut [Dossier]) -> Result<(), String> {
        let mut names = BTreeSet::new();
        for dossier in stored {
            let order = dossier.id.to_string();
            for Told { entry, .. } in &mut dossier.history {
                let name = (order.clone(), entry.version.get(), entry.actor.to_string());
                if let Some(asker) = self.asker(entry.request_id.as_str()) {
                    if name.2 != asker {
                        return Err(format!("{asker} asked, and it is stored as {name:?}"));
                    }
                    entry.actor = "".into();
                }
                names.insert(name);
            }
            for note in dossier.record.iter_mut().flat_map(|record| &mut record.notes) {
                let name = (order.clone(), note.version.get(), note.author.to_string());
                if !names.contains(&name) {
                    return Err(format!("a note of {name:?}, and its change is another's"));
                }
                note.author = "".into();
            }
        }
        match self.told.difference(&names).next() {
            Some(name) => Err(format!("{name:?} is told, and not stored")),
            None => Ok(()),
        }
    }

    /// Who made the request of this id; nobody when it is the service's own.
    fn asker(&self, request: &str) -> Option<&'static str> {
        let number: usize = request.strip_prefix("request-")?.parse().ok()?;
        self.asked.get(number).copied()
    }
}
