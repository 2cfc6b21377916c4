//! ISO 4217 currencies and their minor-unit exponents.

use std::{fmt, str::FromStr};

/// A currency of ISO 4217 that has minor units.
///
/// Precious metals and test codes (`XAU`, `XTS`, …) are absent: they have no minor unit, so no amount
/// could be stated in them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// The text is not a currency this service can state amounts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a known ISO 4217 currency code; use three capital letters such as EUR")]
pub struct UnknownCurrency;

impl Currency {
    /// How many decimal digits the minor unit has: 0 for JPY, 2 for EUR, 3 for KWD, 4 for CLF.
    ///
    /// Source: ISO 4217, list one.
    pub fn exponent(self) -> u8 {
        let listed = |list: &str| list.split(' ').any(|code| code.as_bytes() == self.0);
        match () {
            () if listed(EXPONENT_0) => 0,
            () if listed(EXPONENT_3) => 3,
            () if listed(EXPONENT_4) => 4,
            () => 2,
        }
    }

    /// The three-letter code.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code: [u8; 3] = text.as_bytes().try_into().map_err(|_| UnknownCurrency)?;
        [EXPONENT_2, EXPONENT_0, EXPONENT_3, EXPONENT_4]
            .into_iter()
            .flat_map(|list| list.split(' '))
            .any(|known| known.as_bytes() == code)
            .then_some(Self(code))
            .ok_or(UnknownCurrency)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

const EXPONENT_0: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF";
const EXPONENT_3: &str = "BHD IQD JOD KWD LYD OMR TND";
const EXPONENT_4: &str = "CLF UYW";
/// The commonest first: the look-up is linear.
const EXPONENT_2: &str = "EUR USD GBP CHF CAD AUD AED AFN ALL AMD ANG AOA ARS AWG AZN BAM BBD BDT \
BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CDF CHE CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD \
EGP ERN ETB FJD FKP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW \
KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN \
NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD \
SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USN UYU UZS VED VES WST XCD XCG YER ZAR \
ZMW ZWG";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_follow_the_standard() {
        for (code, exponent) in [("JPY", 0), ("EUR", 2), ("USD", 2), ("KWD", 3), ("CLF", 4)] {
            assert_eq!(code.parse::<Currency>().unwrap().exponent(), exponent, "{code}");
        }
    }

    #[test]
    fn unknown_codes_are_refused() {
        for code in ["", "eur", "EURO", "XXX", "XAU", "ZZZ", "E R", "R S"] {
            assert_eq!(code.parse::<Currency>(), Err(UnknownCurrency), "{code:?}");
        }
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut codes: Vec<_> = [EXPONENT_0, EXPONENT_2, EXPONENT_3, EXPONENT_4]
            .iter()
            .flat_map(|list| list.split_whitespace())
            .collect();
        let listed = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), listed);
    }
}
