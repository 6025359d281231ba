"""Index arithmetic as polynomials with integer coefficients.

An index such as `(y - 1) * width + x` is kept as a sum of products of values instead of instructions, so that a loop
can see which part moves with its variable, which part is a row, and which part is a constant offset: the three things
that strength reduction of addresses needs.  Values are named by number.  A polynomial is a sorted tuple of
`(product, coefficient)` without zero coefficients; the empty product is the constant.  Arithmetic is exact; wrapping
at 32 bits commutes with + - * and is left out.
"""

from __future__ import annotations

from math import gcd

Product = tuple[int, ...]
Poly = tuple[tuple[Product, int], ...]

MOST_TERMS = 16  # [own choice, bounds the work per expression] longer polynomials are computed as values instead


def number(value: int) -> Poly:
    """The constant polynomial."""
    return (((), value),) if value else ()


def atom(value: int) -> Poly:
    """The polynomial that is one value."""
    return (((value,), 1),)


def _normal(terms: dict[Product, int]) -> Poly:
    return tuple(sorted((product, factor) for product, factor in terms.items() if factor))


def add(left: Poly, right: Poly, sign: int = 1) -> Poly:
    """`left + sign * right`."""
    terms = dict(left)
    for product, factor in right:
        terms[product] = terms.get(product, 0) + sign * factor
    return _normal(terms)


def multiply(left: Poly, right: Poly) -> Poly | None:
    """The product, or None if it has more than `MOST_TERMS` terms."""
    terms: dict[Product, int] = {}
    for product, factor in left:
        for other, times in right:
            key = tuple(sorted(product + other))
            terms[key] = terms.get(key, 0) + factor * times
    return _normal(terms) if len(terms) <= MOST_TERMS else None


def scale(poly: Poly, factor: int) -> Poly:
    """`factor * poly`."""
    return tuple((product, times * factor) for product, times in poly) if factor else ()


def constant(poly: Poly) -> int:
    """The constant term."""
    return poly[0][1] if poly and not poly[0][0] else 0


def without_constant(poly: Poly) -> Poly:
    """The polynomial less its constant term."""
    return poly[1:] if poly and not poly[0][0] else poly


def is_constant(poly: Poly) -> bool:
    """True if no value occurs."""
    return not without_constant(poly)


def single(poly: Poly) -> int | None:
    """The value that the polynomial is, or None if it is more than that."""
    if len(poly) == 1 and len(poly[0][0]) == 1 and poly[0][1] == 1:
        return poly[0][0][0]
    return None


def values_of(poly: Poly) -> tuple[int, ...]:
    """All values that occur, ascending."""
    return tuple(sorted({value for product, _ in poly for value in product}))


def split(poly: Poly, value: int) -> tuple[Poly, Poly] | None:
    """`(a, b)` with `poly = a * value + b` and no `value` in either, or None if it is not linear in `value`."""
    slope: dict[Product, int] = {}
    rest: dict[Product, int] = {}
    for product, factor in poly:
        power = product.count(value)
        if power > 1:
            return None
        if power:
            slope[tuple(v for v in product if v != value)] = factor
        else:
            rest[product] = factor
    return _normal(slope), _normal(rest)


def content(poly: Poly) -> int:
    """Greatest common divisor of the coefficients, negative if all of them are; 1 for the zero polynomial."""
    if not poly:
        return 1
    common = gcd(*(factor for _, factor in poly))
    return -common if all(factor < 0 for _, factor in poly) else common
