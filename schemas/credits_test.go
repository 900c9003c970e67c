package schemas

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestCreditsAreReadExactly(t *testing.T) {
	for _, test := range []struct {
		text string
		want Credits
		err  error
	}{
		{"0", 0, nil},
		{"1", 1_000_000, nil},
		{"1.5", 1_500_000, nil},
		{"0.000001", 1, nil},
		{"-0.5", -500_000, nil},
		{"-0", 0, nil},
		{"007.10", 7_100_000, nil},
		{"1.5000000000", 1_500_000, nil},
		{"9223372036854.775807", math.MaxInt64, nil},
		{"-9223372036854.775808", math.MinInt64, nil},
		{"9223372036854.775808", 0, ErrCreditsRange},
		{"-9223372036854.775809", 0, ErrCreditsRange},
		{"99999999999999999999999999", 0, ErrCreditsRange},
		{"1.0000001", 0, ErrCreditsPrecision},
		{"", 0, ErrCreditsSyntax},
		{"-", 0, ErrCreditsSyntax},
		{".5", 0, ErrCreditsSyntax},
		{"5.", 0, ErrCreditsSyntax},
		{"+1", 0, ErrCreditsSyntax},
		{"--1", 0, ErrCreditsSyntax},
		{"1e3", 0, ErrCreditsSyntax},
		{"1,5", 0, ErrCreditsSyntax},
		{" 1", 0, ErrCreditsSyntax},
		{"NaN", 0, ErrCreditsSyntax},
		{"0x10", 0, ErrCreditsSyntax},
		{"١", 0, ErrCreditsSyntax},
	} {
		got, err := ParseCredits(test.text)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("ParseCredits(%q) = %d, %v; want %d, %v", test.text, got, err, test.want, test.err)
		}
	}
}

func TestJSONNumbersAreReadExactly(t *testing.T) {
	for _, test := range []struct {
		number string
		want   Credits
		err    error
	}{
		{"1.5", 1_500_000, nil},
		{"15e-1", 1_500_000, nil},
		{"0.15E+1", 1_500_000, nil},
		{"1e-6", 1, nil},
		{"1e-7", 0, ErrCreditsPrecision},
		{"9.223372036854775807e12", math.MaxInt64, nil},
		{"1e400", 0, ErrCreditsRange},
		{"0e999999999999", 0, nil},
		{"0.1e1", 1_000_000, nil},
		{"-25e-1", -2_500_000, nil},
		{"1e", 0, ErrCreditsSyntax},
		{"e5", 0, ErrCreditsSyntax},
	} {
		got, err := ParseCreditsNumber(test.number)
		if got != test.want || !errors.Is(err, test.err) {
			t.Errorf("ParseCreditsNumber(%q) = %d, %v; want %d, %v", test.number, got, err, test.want, test.err)
		}
	}
}

func drawCredits(t *rapid.T, label string) Credits {
	return Credits(rapid.OneOf(rapid.Int64(), rapid.Int64Range(-3_000_000, 3_000_000)).Draw(t, label))
}

func TestCreditsTextIsTheInverseOfParsing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawCredits(t, "credits")
		text := c.String()
		if got, err := ParseCredits(text); err != nil || got != c {
			t.Fatalf("%d as %q reads back as %d, %v", c, text, got, err)
		}
		if strings.ContainsAny(text, "eE+") || strings.Contains(text, ".") && strings.HasSuffix(text, "0") {
			t.Fatalf("%q is not canonical", text)
		}
	})
}

func TestSumsOfCreditsAgreeWithBigIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amounts := rapid.SliceOf(rapid.Int64()).Draw(t, "amounts")
		sum, want := CreditsSum{}, new(big.Int)
		for _, a := range amounts {
			sum = sum.Plus(SumOf(Credits(a)))
			want.Add(want, big.NewInt(a))
		}
		if sum.Big().Cmp(want) != 0 {
			t.Fatalf("sum %s, want %s", sum.Big(), want)
		}
		if SumFromBig(want) != sum {
			t.Fatalf("SumFromBig(%s) = %v, want %v", want, SumFromBig(want), sum)
		}
		if sum.Plus(sum.Negated()) != (CreditsSum{}) || sum.Minus(sum).Sign() != 0 {
			t.Fatalf("%s minus itself is not zero", sum)
		}
		if sum.Sign() != want.Sign() {
			t.Fatalf("sign of %s is %d, want %d", sum, sum.Sign(), want.Sign())
		}
		narrow, ok := sum.Credits()
		if ok != want.IsInt64() || ok && int64(narrow) != want.Int64() {
			t.Fatalf("%s narrows to %d, %v", want, narrow, ok)
		}
		rat := new(big.Rat).SetFrac(want, big.NewInt(MicroPerCredit))
		got, good := new(big.Rat).SetString(sum.String())
		if !good || got.Cmp(rat) != 0 {
			t.Fatalf("%s millionths print as %s", want, sum)
		}
	})
}

func TestSumsBeyondSixtyFourBitsPrintExactly(t *testing.T) {
	million := SumOf(math.MaxInt64)
	sum := CreditsSum{}
	for range 1000 {
		sum = sum.Plus(million)
	}
	if got, want := sum.String(), "9223372036854775.807"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	huge := CreditsSum{Hi: math.MaxInt64, Lo: math.MaxUint64}
	if got, want := huge.String(), "170141183460469231731687303715884.105727"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzParseCredits(f *testing.F) {
	for _, seed := range []string{"0", "1.5", "-0.000001", "1e3", "9223372036854.775808", "..", "-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCredits(text)
		if err != nil {
			return
		}
		rat, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q was read as %s and is no number", text, c)
		}
		if want := new(big.Rat).SetFrac(big.NewInt(int64(c)), big.NewInt(MicroPerCredit)); rat.Cmp(want) != 0 {
			t.Fatalf("%q was read as %s", text, c)
		}
		if n, err := ParseCreditsNumber(text); err != nil || n != c {
			t.Fatalf("%q is %s as text and %s, %v as a number", text, c, n, err)
		}
	})
}
