package schemas

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
)

// Credits is an amount of money in millionths of a credit (micro-credits).
// It is exact: nothing in Agentmeter turns it into a float. The range is about
// ±9.2 trillion credits; sums that may leave it are held in CreditsSum.
type Credits int64

// MicroPerCredit is how many Credits units make one credit.
const MicroPerCredit = 1_000_000

// CreditDecimals is how many decimals a credit amount may have.
const CreditDecimals = 6

// Errors of ParseCredits. Each says what is wrong with the text and what would
// be right.
var (
	ErrCreditsSyntax    = errors.New(`not a decimal number; write it like "1.5", digits with at most one point and no exponent`)
	ErrCreditsPrecision = errors.New("more than 6 decimals; credits are counted in millionths")
	ErrCreditsRange     = errors.New("out of range; at most 9223372036854.775807")
)

// ParseCredits reads a decimal such as "12", "-0.5" or "1.500000", exactly.
// Exponents, signs other than one leading "-", and bare points are refused
// with ErrCreditsSyntax; a seventh significant decimal with ErrCreditsPrecision
// (trailing zeros beyond the sixth are taken: they change nothing).
func ParseCredits(text string) (Credits, error) {
	if credits, ok := parseShort(text); ok {
		return credits, nil
	}
	digits := text
	negative := strings.HasPrefix(digits, "-")
	if negative {
		digits = digits[1:]
	}
	whole, fraction, point := strings.Cut(digits, ".")
	if whole == "" || (point && fraction == "") {
		return 0, ErrCreditsSyntax
	}
	for _, part := range [2]string{whole, fraction} {
		for i := range len(part) {
			if part[i] < '0' || part[i] > '9' {
				return 0, ErrCreditsSyntax
			}
		}
	}
	if len(fraction) > CreditDecimals {
		if strings.Trim(fraction[CreditDecimals:], "0") != "" {
			return 0, ErrCreditsPrecision
		}
		fraction = fraction[:CreditDecimals]
	}
	var micro uint64
	limit := uint64(math.MaxInt64)
	if negative {
		limit++
	}
	push := func(digit byte) bool {
		hi, lo := bits.Mul64(micro, 10)
		sum, carry := bits.Add64(lo, uint64(digit-'0'), 0)
		micro = sum
		return hi == 0 && carry == 0 && micro <= limit
	}
	for i := range len(whole) {
		if !push(whole[i]) {
			return 0, ErrCreditsRange
		}
	}
	for i := range CreditDecimals {
		digit := byte('0')
		if i < len(fraction) {
			digit = fraction[i]
		}
		if !push(digit) {
			return 0, ErrCreditsRange
		}
	}
	if negative {
		return Credits(-int64(micro)), nil
	}
	return Credits(micro), nil
}

// parseShort reads a decimal as nearly all are: not negative, and too short to
// be out of range. It says nothing about any other.
func parseShort(text string) (Credits, bool) {
	const longest = 12 // digits, so at most 10^18 millionths
	if text == "" || len(text) > longest {
		return 0, false
	}
	var value int64
	point := -1
	for i := range len(text) {
		digit := text[i] - '0'
		switch {
		case digit <= 9:
			value = value*10 + int64(digit)
		case text[i] == '.' && point < 0 && i > 0:
			point = i
		default:
			return 0, false
		}
	}
	missing := CreditDecimals
	if point >= 0 {
		decimals := len(text) - 1 - point
		if decimals == 0 || decimals > CreditDecimals {
			return 0, false
		}
		missing -= decimals
	}
	return Credits(value * powersOfTen[missing]), true
}

var powersOfTen = [CreditDecimals + 1]int64{1, 10, 100, 1_000, 10_000, 100_000, 1_000_000}

// ParseCreditsNumber reads a JSON number, exponent included, exactly: 1.5,
// 15e-1 and 0.15E1 are the same amount. Errors are those of ParseCredits.
func ParseCreditsNumber(number string) (Credits, error) {
	if credits, ok := parseShort(number); ok {
		return credits, nil
	}
	mantissa, exponent, found := cutExponent(number)
	if !found {
		return ParseCredits(number)
	}
	shift := 0
	sign, digits := 1, exponent
	if after, ok := strings.CutPrefix(digits, "-"); ok {
		sign, digits = -1, after
	} else if after, ok := strings.CutPrefix(digits, "+"); ok {
		digits = after
	}
	if digits == "" {
		return 0, ErrCreditsSyntax
	}
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, ErrCreditsSyntax
		}
		if shift < 1000 { // beyond this only a zero mantissa is in range anyway
			shift = shift*10 + int(digits[i]-'0')
		}
	}
	return ParseCredits(shiftPoint(mantissa, sign*shift))
}

func cutExponent(number string) (mantissa, exponent string, found bool) {
	if i := strings.IndexAny(number, "eE"); i >= 0 {
		return number[:i], number[i+1:], true
	}
	return number, "", false
}

// shiftPoint moves the decimal point of a plain decimal to the right (shift >
// 0) or left. A mantissa that is no plain decimal comes back unchanged enough
// for ParseCredits to refuse it.
func shiftPoint(mantissa string, shift int) string {
	sign := ""
	if after, ok := strings.CutPrefix(mantissa, "-"); ok {
		sign, mantissa = "-", after
	}
	whole, fraction, point := strings.Cut(mantissa, ".")
	if whole == "" || (point && fraction == "") {
		return mantissa + "!"
	}
	if strings.Trim(whole+fraction, "0") == "" {
		return "0"
	}
	if shift >= 0 {
		if pad := shift - len(fraction); pad > 0 {
			fraction += strings.Repeat("0", pad)
		}
		whole, fraction = whole+fraction[:shift], fraction[shift:]
	} else {
		if pad := -shift - len(whole) + 1; pad > 0 {
			whole = strings.Repeat("0", pad) + whole
		}
		cut := len(whole) + shift
		whole, fraction = whole[:cut], whole[cut:]+fraction
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if fraction = strings.TrimRight(fraction, "0"); fraction != "" {
		return sign + whole + "." + fraction
	}
	return sign + whole
}

// String formats the amount as JSON carries it: no exponent, no trailing
// zeros, "0" for nothing.
func (c Credits) String() string {
	return string(c.Append(make([]byte, 0, 24)))
}

// Append appends String to dst without allocating.
func (c Credits) Append(dst []byte) []byte {
	return SumOf(c).Append(dst)
}

// MarshalText makes Credits a decimal string in JSON.
func (c Credits) MarshalText() ([]byte, error) { return c.Append(nil), nil }

// UnmarshalText reads what MarshalText writes.
func (c *Credits) UnmarshalText(text []byte) error {
	parsed, err := ParseCredits(string(text))
	if err != nil {
		return fmt.Errorf("credits %q: %w", text, err)
	}
	*c = parsed
	return nil
}

// CreditsSum is a sum of credits in millionths, 128 bits wide: no number of
// events can overflow it. Hi is the signed upper half, Lo the lower; the zero
// value is zero.
type CreditsSum struct {
	Hi int64
	Lo uint64
}

// SumOf widens one amount.
func SumOf(c Credits) CreditsSum {
	return CreditsSum{Hi: int64(c) >> 63, Lo: uint64(c)}
}

// Plus returns s + other.
func (s CreditsSum) Plus(other CreditsSum) CreditsSum {
	lo, carry := bits.Add64(s.Lo, other.Lo, 0)
	return CreditsSum{Hi: s.Hi + other.Hi + int64(carry), Lo: lo}
}

// Negated returns -s.
func (s CreditsSum) Negated() CreditsSum {
	lo, borrow := bits.Sub64(0, s.Lo, 0)
	return CreditsSum{Hi: -s.Hi - int64(borrow), Lo: lo}
}

// Minus returns s - other.
func (s CreditsSum) Minus(other CreditsSum) CreditsSum { return s.Plus(other.Negated()) }

// Sign is -1, 0 or 1.
func (s CreditsSum) Sign() int {
	switch {
	case s.Hi < 0:
		return -1
	case s.Hi == 0 && s.Lo == 0:
		return 0
	default:
		return 1
	}
}

// Cmp orders two sums as bytes.Compare orders bytes.
func (s CreditsSum) Cmp(other CreditsSum) int { return s.Minus(other).Sign() }

// Credits narrows the sum; ok is false where it does not fit.
func (s CreditsSum) Credits() (c Credits, ok bool) {
	c = Credits(s.Lo)
	return c, SumOf(c) == s
}

// Big returns the sum in millionths as a new big.Int.
func (s CreditsSum) Big() *big.Int {
	b := big.NewInt(s.Hi)
	b.Lsh(b, 64)
	return b.Add(b, new(big.Int).SetUint64(s.Lo))
}

// SumFromBig is the inverse of Big for values of at most 127 bits.
func SumFromBig(b *big.Int) CreditsSum {
	lo := new(big.Int).And(b, new(big.Int).SetUint64(math.MaxUint64)).Uint64()
	return CreditsSum{Hi: new(big.Int).Rsh(b, 64).Int64(), Lo: lo}
}

// String formats the sum like Credits.String.
func (s CreditsSum) String() string { return string(s.Append(make([]byte, 0, 48))) }

// Append appends String to dst.
func (s CreditsSum) Append(dst []byte) []byte {
	if s.Sign() < 0 {
		dst = append(dst, '-')
		s = s.Negated()
	}
	hi := uint64(s.Hi)
	wholeHi, rest := hi/MicroPerCredit, hi%MicroPerCredit // long division by 10^6, 64 bits at a time
	wholeLo, fraction := bits.Div64(rest, s.Lo, MicroPerCredit)
	if wholeHi == 0 {
		dst = strconv.AppendUint(dst, wholeLo, 10)
	} else {
		whole := new(big.Int).Lsh(new(big.Int).SetUint64(wholeHi), 64)
		dst = whole.Add(whole, new(big.Int).SetUint64(wholeLo)).Append(dst, 10)
	}
	if fraction == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := uint64(MicroPerCredit / 10); fraction > 0; unit /= 10 {
		dst = append(dst, byte('0'+fraction/unit))
		fraction %= unit
	}
	return dst
}

// MarshalText makes a CreditsSum a decimal string in JSON.
func (s CreditsSum) MarshalText() ([]byte, error) { return s.Append(nil), nil }
