//! From goods to totals: every amount of an order follows from its lines, its discount and its
//! shipping.

use super::{currency::Currency, line::Line, money::Money};

/// What is sold and what is taken off: all that totals are computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goods {
    /// The one currency of the order.
    pub currency: Currency,
    /// The lines, at least one.
    pub lines: Vec<Line>,
    /// Off the order as a whole, apportioned to the lines.
    pub discount: Money,
    /// What shipping costs.
    pub shipping: Money,
}

/// The amounts of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineAmounts {
    /// Unit price × quantity, rounded once, half to even.
    pub gross: Money,
    /// This line's share of the order's discount.
    pub discount_share: Money,
    /// Gross − line discount − share + exclusive tax: what this line adds to the total.
    pub total: Money,
}

/// The amounts of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Σ gross of the lines.
    pub subtotal: Money,
    /// Σ discounts of the lines.
    pub line_discount: Money,
    /// The order's discount.
    pub order_discount: Money,
    /// Σ tax that adds to the total.
    pub exclusive_tax: Money,
    /// Σ tax that the prices already hold; for information.
    pub inclusive_tax: Money,
    /// Shipping.
    pub shipping: Money,
    /// Subtotal − discounts + exclusive tax + shipping.
    pub total: Money,
}

/// The amounts of an order and of each of its lines, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pricing {
    /// One entry per line.
    pub lines: Vec<LineAmounts>,
    /// The sums.
    pub totals: Totals,
}

/// Why goods have no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unpriceable {
    /// The discount of the line at this index is larger than its gross.
    LineDiscount(usize),
    /// The order's discount is larger than what the lines come to.
    OrderDiscount,
    /// An amount does not fit 64 bits.
    Overflow,
}

impl Pricing {
    /// Computes every amount.
    ///
    /// # Errors
    /// [`Unpriceable`] when a discount is larger than what it is taken off, or an amount does not
    /// fit.
    pub fn of(goods: &Goods) -> Result<Self, Unpriceable> {
        let mut gross = Vec::with_capacity(goods.lines.len());
        let mut net = Vec::with_capacity(goods.lines.len());
        for (at, line) in goods.lines.iter().enumerate() {
            let line_gross = line.gross().ok_or(Unpriceable::Overflow)?.minor;
            let line_net = line_gross.checked_sub(line.discount.minor).filter(|net| *net >= 0);
            gross.push(line_gross);
            net.push(line_net.ok_or(Unpriceable::LineDiscount(at))?);
        }
        let shares = apportion(goods.discount.minor, &net)?;
        let money = |minor| Money::new(minor, goods.currency);
        let tax = |line: &Line, inclusive: bool| {
            line.tax.filter(|tax| tax.inclusive == inclusive).map_or(0, |tax| tax.amount.minor)
        };
        let mut lines = Vec::with_capacity(goods.lines.len());
        for (((line, gross), net), share) in goods.lines.iter().zip(&gross).zip(&net).zip(&shares) {
            let total = net.checked_sub(*share).and_then(|n| n.checked_add(tax(line, false)));
            lines.push(LineAmounts {
                gross: money(*gross),
                discount_share: money(*share),
                total: money(total.ok_or(Unpriceable::Overflow)?),
            });
        }
        let line_total = checked_sum(lines.iter().map(|l| l.total.minor))?;
        let total = line_total.checked_add(goods.shipping.minor).ok_or(Unpriceable::Overflow)?;
        let over = |amount: &dyn Fn(&Line) -> i64| checked_sum(goods.lines.iter().map(amount));
        let totals = Totals {
            subtotal: money(checked_sum(gross.into_iter())?),
            line_discount: money(over(&|l| l.discount.minor)?),
            order_discount: goods.discount,
            exclusive_tax: money(over(&|l| tax(l, false))?),
            inclusive_tax: money(over(&|l| tax(l, true))?),
            shipping: goods.shipping,
            total: money(total),
        };
        Ok(Self { lines, totals })
    }
}

fn checked_sum(mut amounts: impl Iterator<Item = i64>) -> Result<i64, Unpriceable> {
    amounts.try_fold(0_i64, i64::checked_add).ok_or(Unpriceable::Overflow)
}

/// Splits `discount` over the lines in proportion to their net, to the minor unit: each gets the
/// whole part of its quota, and the units left over go to the largest remainders, the earlier line
/// first (Hamilton's method). The shares sum to `discount` exactly and none exceeds its net.
fn apportion(discount: i64, net: &[i64]) -> Result<Vec<i64>, Unpriceable> {
    let sum = i128::from(checked_sum(net.iter().copied())?);
    if i128::from(discount) > sum {
        return Err(Unpriceable::OrderDiscount);
    }
    if discount == 0 {
        return Ok(vec![0; net.len()]);
    }
    let mut shares = Vec::with_capacity(net.len());
    let mut rests = Vec::with_capacity(net.len());
    for (at, net) in net.iter().enumerate() {
        let quota = i128::from(*net).checked_mul(i128::from(discount));
        let quota = quota.ok_or(Unpriceable::Overflow)?;
        shares.push(i64::try_from(quota.div_euclid(sum)).map_err(|_| Unpriceable::Overflow)?);
        rests.push((std::cmp::Reverse(quota.rem_euclid(sum)), at));
    }
    let given = checked_sum(shares.iter().copied())?;
    let left = usize::try_from(discount.saturating_sub(given)).unwrap_or(0);
    rests.sort_unstable();
    for (_, at) in rests.into_iter().take(left) {
        if let Some(share) = shares.get_mut(at) {
            *share = share.saturating_add(1);
        }
    }
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{
            line::{Progress, Quantity, Tax},
            money::UnitPrice,
        },
        *,
    };

    fn eur(minor: i64) -> Money {
        Money::new(minor, "EUR".parse().unwrap())
    }

    fn line(price: &str, quantity: i64, discount: i64) -> Line {
        Line {
            sku: "sku".parse().unwrap(),
            name: None,
            quantity: Quantity::new(quantity).unwrap(),
            unit_price: UnitPrice::parse(price, eur(0).currency).unwrap(),
            discount: eur(discount),
            tax: None,
            progress: Progress::default(),
        }
    }

    fn goods(lines: Vec<Line>, discount: i64, shipping: i64) -> Goods {
        let currency = eur(0).currency;
        Goods { currency, lines, discount: eur(discount), shipping: eur(shipping) }
    }

    #[test]
    fn the_total_is_the_sum_of_its_parts() {
        let mut taxed = line("1000", 2, 100);
        taxed.tax = Some(Tax { amount: eur(190), inclusive: false });
        let mut held = line("333.333333", 3, 0);
        held.tax = Some(Tax { amount: eur(70), inclusive: true });
        let Pricing { totals, lines } = Pricing::of(&goods(vec![taxed, held], 290, 499)).unwrap();
        assert_eq!(totals.subtotal, eur(3000));
        assert_eq!(totals.line_discount, eur(100));
        assert_eq!(totals.exclusive_tax, eur(190));
        assert_eq!(totals.inclusive_tax, eur(70));
        assert_eq!(totals.total, eur(3000 - 100 - 290 + 190 + 499));
        assert_eq!(lines[0].discount_share, eur(190));
        assert_eq!(lines[1].discount_share, eur(100));
    }

    #[test]
    fn left_over_units_go_to_the_largest_remainders_first() {
        assert_eq!(apportion(10, &[1, 1, 1]), Err(Unpriceable::OrderDiscount));
        assert_eq!(apportion(100, &[100, 100, 100]), Ok(vec![34, 33, 33]));
        assert_eq!(apportion(5, &[1, 7, 2]), Ok(vec![1, 3, 1]));
        assert_eq!(apportion(0, &[0, 0]), Ok(vec![0, 0]));
    }

    #[test]
    fn discounts_larger_than_what_they_are_taken_off_are_refused() {
        let of = |goods: &Goods| Pricing::of(goods).unwrap_err();
        assert_eq!(
            of(&goods(vec![line("1", 1, 0), line("5", 1, 6)], 0, 0)),
            Unpriceable::LineDiscount(1)
        );
        assert_eq!(of(&goods(vec![line("5", 1, 2)], 4, 100)), Unpriceable::OrderDiscount);
    }

    #[test]
    fn amounts_that_do_not_fit_are_refused() {
        let huge = line("9223372036854", 1_000_000, 0);
        let of = |goods: &Goods| Pricing::of(goods).unwrap_err();
        assert_eq!(of(&goods(vec![huge.clone(), huge], 0, 0)), Unpriceable::Overflow);
        assert_eq!(of(&goods(vec![line("1", 1, 0)], 0, i64::MAX)), Unpriceable::Overflow);
    }

    proptest! {
        #[test]
        fn shares_sum_exactly_and_none_exceeds_its_net(
            net in prop::collection::vec(0_i64..1_000_000_000_000, 1..60),
            part in 0.0_f64..=1.0,
        ) {
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::as_conversions, clippy::float_arithmetic, reason = "any part will do")]
            let discount = (net.iter().sum::<i64>() as f64 * part * 0.999) as i64;
            let shares = apportion(discount, &net).unwrap();
            prop_assert_eq!(shares.iter().sum::<i64>(), discount);
            for (share, net) in shares.iter().zip(&net) {
                prop_assert!(*share >= 0 && share <= net);
            }
        }
    }
}
