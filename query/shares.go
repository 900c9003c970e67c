package query

import (
	"math/big"
	"math/bits"
	"slices"
	"strconv"

	"agentmeter/schemas"
)

// shareUnits is how many units of a share make the whole: 100.0 %.
const shareUnits = 1000

// sharesOf returns what percentage of their sum each amount is, to one decimal
// and so that they add up to 100.0 exactly: rounded down, and the units that
// are left over given to those that lost most by it, the first of equals
// first.
//
// An amount below zero, which only adjustments make, has a share of 0.0 and is
// no part of the sum. Where nothing is above zero every share is 0.0.
func sharesOf(amounts []schemas.CreditsSum) []string {
	var sum schemas.CreditsSum
	for _, amount := range amounts {
		if amount.Sign() > 0 {
			sum = sum.Plus(amount)
		}
	}
	units := make([]int64, len(amounts))
	if sum.Sign() > 0 {
		left := int64(shareUnits)
		remainders := make([]remainder, 0, len(amounts))
		for i, amount := range amounts {
			if amount.Sign() <= 0 {
				continue
			}
			quotient, rest := dividedInto(amount, sum)
			units[i] = quotient
			left -= quotient
			remainders = append(remainders, remainder{i, rest})
		}
		slices.SortStableFunc(remainders, func(a, b remainder) int { return b.rest.Cmp(a.rest) })
		for _, r := range remainders[:left] {
			units[r.index]++
		}
	}
	shares := make([]string, len(amounts))
	for i, u := range units {
		shares[i] = tenths(u)
	}
	return shares
}

type remainder struct {
	index int
	rest  schemas.CreditsSum
}

// dividedInto returns how many whole units of sum amount is, and what of it is
// left, times shareUnits. 0 < amount ≤ sum.
func dividedInto(amount, sum schemas.CreditsSum) (units int64, rest schemas.CreditsSum) {
	if sum.Hi == 0 {
		hi, lo := bits.Mul64(amount.Lo, shareUnits)
		quotient, left := bits.Div64(hi, lo, sum.Lo)
		return int64(quotient), schemas.CreditsSum{Lo: left}
	}
	quotient, left := new(big.Int).QuoRem(
		new(big.Int).Mul(amount.Big(), big.NewInt(shareUnits)), sum.Big(), new(big.Int))
	return quotient.Int64(), schemas.SumFromBig(left)
}

// tenths formats a number of tenths with one decimal.
func tenths(n int64) string {
	return strconv.FormatInt(n/10, 10) + "." + strconv.FormatInt(n%10, 10)
}

// percentage is part of whole in percent, rounded half up to a whole number.
// Both are positive.
func percentage(part, whole schemas.CreditsSum) *big.Int {
	return rounded(new(big.Int).Mul(part.Big(), big.NewInt(100)), whole.Big())
}

// rounded is a/b rounded half up to a whole number; a ≥ 0 and b > 0.
func rounded(a, b *big.Int) *big.Int {
	doubled := new(big.Int).Lsh(a, 1)
	return doubled.Add(doubled, b).Quo(doubled, new(big.Int).Lsh(b, 1))
}
