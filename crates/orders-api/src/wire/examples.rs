//! Examples in the document; a test places them.

use serde_json::{Value, json};

/// An order to place.
pub(super) fn create() -> Value {
    json!({
        "customer_id": "c-1024",
        "lines": [
            {
                "sku": "tea-assam-250",
                "name": "Assam, 250 g",
                "quantity": 2,
                "unit_price": { "amount_minor": "899.5", "currency": "EUR" },
                "tax": {
                    "amount": { "amount_minor": "118", "currency": "EUR" },
                    "inclusive": true
                }
            },
            {
                "sku": "pot-glass-1l",
                "quantity": 1,
                "unit_price": { "amount_minor": "2450", "currency": "EUR" },
                "discount": { "amount_minor": "245", "currency": "EUR" }
            }
        ],
        "shipping": { "amount_minor": "490", "currency": "EUR" },
        "expected_total": { "amount_minor": "4494", "currency": "EUR" },
        "metadata": { "channel": "web" },
        "personal": {
            "name": "Ada Example",
            "email": "ada@example.com",
            "shipping_address": {
                "line1": "Example Street 1",
                "city": "Berlin",
                "postal_code": "10115",
                "country": "DE"
            }
        }
    })
}
