//! Nobody sees or touches what is another tenant's, gets in without a credential, or does what its scopes
//! do not say: every operation of both protocols, each asked for in four ways.
//!
//! The operations are those of the OpenAPI document and of the contract of gRPC, so that a new one
//! fails by its name until it has a row. `scripts/check/isolation` plays the same over every store.

mod cell;
mod heard;
mod row;

use std::{collections::BTreeSet, fs};

use orders_api::grpc::DESCRIPTORS;
use orders_testkit::{Bug, World};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use serde_json::Value;

use self::{
    cell::{Breach, Case, Cell, cells},
    row::{Face, Row, offered, rows},
};
use crate::{parity::given, shop::Shop};

/// What a protocol offers and has no row, by its name.
fn without_row(rows: &[Row]) -> Vec<String> {
    let missing = |face: Face| {
        let all = offered(face).into_iter();
        all.filter(move |name| !rows.iter().any(|row| row.at(face) == name))
    };
    Face::ALL.into_iter().flat_map(missing).collect()
}

/// Every cell of every row, each row over a service of its own.
async fn matrix() -> Vec<Cell> {
    let mut all = Vec::new();
    for row in rows() {
        for face in Face::ALL.into_iter().filter(|face| row.is_over(*face)) {
            all.extend(Box::pin(cells(&Shop::new(), &row, face, None)).await);
        }
    }
    all
}

/// The cells of a row that do not hold, over a service with a planted breach.
async fn fallen(shop: &Shop, row: &Row, face: Face, breach: Option<Breach>) -> Vec<Case> {
    let cells = Box::pin(cells(shop, row, face, breach)).await;
    cells.into_iter().filter(|cell| cell.fault.is_some()).map(|cell| cell.case).collect()
}

#[tokio::test(start_paused = true)]
async fn every_operation_opens_to_its_owner_alone() {
    assert_eq!(without_row(&rows()), Vec::<String>::new(), "each needs a row");
    let cells = matrix().await;
    if let Some(file) = given("ORDERLY_ISOLATION_REPORT") {
        let report: Value = cells.iter().map(Cell::report).collect();
        fs::write(file, report.to_string()).unwrap();
    }
    let fallen: Vec<&Cell> = cells.iter().filter(|cell| cell.fault.is_some()).collect();
    assert!(fallen.is_empty(), "{fallen:#?}");
    let offered: usize = Face::ALL.into_iter().map(|face| offered(face).len()).sum();
    assert_eq!(cells.len(), Case::ALL.len() * offered);
}

#[test]
fn an_operation_without_a_row_is_told_by_its_name() {
    for at in 0..rows().len() {
        let mut rows = rows();
        let row = rows.remove(at);
        let missing = without_row(&rows);
        for face in Face::ALL.into_iter().filter(|face| row.is_over(*face)) {
            assert!(missing.iter().any(|name| name == row.at(face)), "{missing:?}");
        }
    }
}

#[test]
fn beside_the_contract_only_health_and_reflection_are_called() {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let named = |file: &prost_types::FileDescriptorProto| {
        let package = file.package().to_owned();
        let names = file.service.iter().map(move |service| format!("{package}.{}", service.name()));
        names.collect::<Vec<_>>()
    };
    let services: BTreeSet<String> = files.iter().flat_map(named).collect();
    let known =
        ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "orders.v1.OrderService"];
    assert_eq!(services, BTreeSet::from(known.map(str::to_owned)));
}

/// The service does not ask who it is, of whose tenant or with which scope, for one operation.
#[tokio::test(start_paused = true)]
async fn a_question_that_is_not_asked_is_found_for_every_operation() {
    for row in rows() {
        for face in Face::ALL.into_iter().filter(|face| row.is_over(*face)) {
            for case in [Case::None, Case::Scope, Case::Foreign] {
                let shop = Shop::over(World::new(1));
                let fallen = fallen(&shop, &row, face, Some(Breach::Skipped(case))).await;
                assert!(fallen.contains(&case), "{} over {face:?}: {case:?}", row.call);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_tells_that_something_is_there_is_found() {
    for row in rows().into_iter().filter(Row::is_of_an_order) {
        for face in Face::ALL {
            let shop = Shop::over(World::new(1));
            let fallen = fallen(&shop, &row, face, Some(Breach::Told)).await;
            assert_eq!(fallen, [Case::Foreign], "{} over {face:?}", row.call);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_forgets_the_tenant_is_found_over_both_protocols() {
    for (bug, call) in [
        (Bug::OrderReadWithoutTenant, "GetOrder"),
        (Bug::ListWithoutTenant, "ListOrders"),
        (Bug::FeedWithoutTenant, "WatchEvents"),
        (Bug::KeyWithoutTenant, "CreateOrder"),
    ] {
        let row = rows().into_iter().find(|row| row.call == call).expect("a row");
        for face in Face::ALL {
            let shop = Shop::over(World::with_bug(1, bug));
            let fallen = fallen(&shop, &row, face, None).await;
            assert!(fallen.contains(&Case::Foreign), "{bug:?} over {face:?}");
        }
    }
}
