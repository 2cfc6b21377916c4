//! The committed document is the one the routes make.

use std::fs;

use orders_testkit::{
    World,
    generated::{self, is_committed},
};

#[test]
fn the_committed_document_is_up_to_date() {
    let made = orders_api::http::openapi::<World>().to_pretty_json().unwrap() + "\n";
    is_committed("api/openapi.json", &made);
}

#[test]
fn every_problem_has_its_row_in_the_docs() {
    let table = orders_api::problem::table();
    let intro = "Every error has a stable code: over HTTP the `code` of an RFC 9457 problem, over \
                 gRPC, in capitals, the `reason` of an ErrorInfo. Made from the code; `make generate` \
                 writes it anew.";
    is_committed("docs/PROBLEMS.md", &format!("# Problems\n\n{intro}\n\n{table}"));
}

#[test]
fn every_scope_has_its_rows_in_the_docs() {
    let document = fs::read_to_string(generated::path("docs/IDENTITIES.md")).unwrap();
    let table = orders_api::auth::table();
    assert!(document.contains(&table), "docs/IDENTITIES.md needs this table:\n{table}");
}

#[test]
fn every_operation_documents_who_may_and_what_can_go_wrong() {
    let document = serde_json::to_value(orders_api::http::openapi::<World>()).unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            assert_eq!(responses.contains_key("403"), path.starts_with("/v1/"), "{method} {path}");
            for status in ["400", "401", "429", "503", "504"] {
                let content = &responses[status]["content"]["application/problem+json"];
                assert_eq!(
                    content["schema"]["$ref"], "#/components/schemas/Problem",
                    "{method} {path}"
                );
            }
            assert!(operation["operationId"].is_string(), "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path}");
        }
    }
    assert_eq!(document["components"]["securitySchemes"]["key"]["scheme"], "bearer");
    assert_eq!(document["security"][0]["key"], serde_json::json!([]));
}

#[test]
fn every_reference_leads_somewhere() {
    let document = serde_json::to_value(orders_api::http::openapi::<World>()).unwrap();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        if let Some(target) = value["$ref"].as_str() {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
        }
        open.extend(value.as_object().into_iter().flat_map(|fields| fields.values()));
        open.extend(value.as_array().into_iter().flatten());
    }
}
