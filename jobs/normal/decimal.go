package normal

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
)

// decimal is digits * 10^exponent, exactly: floating point would round in ways
// that a protocol should not rest on.
type decimal struct {
	digits   *big.Int
	exponent int
}

// maxDigits bounds digits and exponent of a number that is read, so that none
// takes long.
const maxDigits = 1_000

// maxZeros bounds how much longer than a number the multiple of a step is that it
// comes to: few bytes come to few.
const maxZeros = 30

var errDecimal = errors.New("normal: not a decimal number of ordinary size")

// parseDecimal reads a number as JSON writes it.
func parseDecimal(text string) (decimal, error) {
	mantissa, power, scientific := strings.Cut(strings.ToLower(text), "e")
	d := decimal{digits: new(big.Int)}
	if scientific {
		n, err := strconv.Atoi(power)
		if err != nil {
			return d, errDecimal
		}
		d.exponent = n
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.exponent -= len(fraction)
	if len(whole)+len(fraction) > maxDigits || d.exponent > maxDigits || d.exponent < -2*maxDigits {
		return d, errDecimal
	}
	if _, ok := d.digits.SetString(whole+fraction, 10); !ok {
		return d, errDecimal
	}
	return d.reduced(), nil
}

// reduced has no zeros at its end, so that equal numbers are written alike.
func (d decimal) reduced() decimal {
	if d.digits.Sign() == 0 {
		return decimal{new(big.Int), 0}
	}
	ten, rest := big.NewInt(10), new(big.Int)
	digits := new(big.Int).Set(d.digits)
	for {
		quotient, _ := new(big.Int).QuoRem(digits, ten, rest)
		if rest.Sign() != 0 {
			return decimal{digits, d.exponent}
		}
		digits, d.exponent = quotient, d.exponent+1
	}
}

// String writes the number.
func (d decimal) String() string { return d.digits.String() + "e" + strconv.Itoa(d.exponent) }

// multiple returns the whole number k for which k*step is nearest to d; of two
// that are as near, the greater.
func (d decimal) multiple(step decimal) *big.Int {
	// d/step + 1/2 = (2*d + step) / (2*step), over a common power of ten.
	above, below := new(big.Int).Set(d.digits), new(big.Int).Set(step.digits)
	if shift := d.exponent - step.exponent; shift >= 0 {
		above.Mul(above, power(shift))
	} else {
		below.Mul(below, power(-shift))
	}
	above.Lsh(above, 1)
	above.Add(above, below)
	below.Lsh(below, 1)
	quotient, rest := new(big.Int).QuoRem(above, below, new(big.Int))
	if rest.Sign() < 0 { // towards minus infinity
		quotient.Sub(quotient, big.NewInt(1))
	}
	return quotient
}

func power(n int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil) }
