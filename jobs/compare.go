package jobs

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/muster-network/muster/consensus"
)

// Compare says when two ends of one task are equal, where runs may differ: see
// package normal. The zero value compares JSON by value, and all else by bytes.
type Compare struct {
	Float  Tolerance `json:"float,omitempty" cbor:"float" doc:"Numbers in JSON are rounded to multiples of this before they are compared, as 1.0e-6."`
	Ignore []string  `json:"ignore,omitempty" cbor:"ignore" doc:"JSON pointers to what is not compared, as /started or /hosts/0."`
	Text   bool      `json:"text,omitempty" cbor:"text" doc:"Other files are text: white space at the ends of lines is not compared."`
}

// Tolerance is a positive decimal number, as people write it.
type Tolerance string

// UnmarshalText reads a number above 0 with at most 20 digits, between 1e-300 and
// 1e300.
func (t *Tolerance) UnmarshalText(text []byte) error {
	if err := Tolerance(text).check(); err != nil {
		return err
	}
	*t = Tolerance(text)
	return nil
}

func (t Tolerance) check() error {
	problem := &Problem{What: strconv.Quote(string(t)) + " is not a tolerance", Try: "a number above 0, as 1.0e-6"}
	mantissa, power, scientific := strings.Cut(strings.ToLower(string(t)), "e")
	if strings.Trim(mantissa, "0123456789.") != "" || len(mantissa) > 21 || strings.Count(mantissa, ".") > 1 || strings.Trim(mantissa, "0.") == "" ||
		mantissa[0] == '.' || mantissa[len(mantissa)-1] == '.' {
		return problem
	}
	if !scientific {
		return nil
	}
	n, err := strconv.Atoi(power)
	if err != nil || n < -300 || n > 300 {
		return problem
	}
	return nil
}

// canonical writes a tolerance in one way, so that one comparison has one form.
func (t Tolerance) canonical() Tolerance {
	mantissa, power, _ := strings.Cut(strings.ToLower(string(t)), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	exponent, _ := strconv.Atoi(power) // none is 0
	fraction = strings.TrimRight(fraction, "0")
	digits, _ := new(big.Int).SetString(whole+fraction, 10)
	text := digits.String()
	short := strings.TrimRight(text, "0")
	return Tolerance(fmt.Sprintf("%se%d", short, exponent-len(fraction)+len(text)-len(short)))
}

// maxIgnored bounds the pointers of one comparison, and each of them in bytes.
const (
	maxIgnored = 64
	maxPointer = 256
)

// Validate checks the form of a comparison in a spec.
func (c *Compare) Validate() error {
	if c.Float != "" {
		if err := c.Float.check(); err != nil {
			return err
		}
		if c.Float != c.Float.canonical() {
			return errors.New("compare: its tolerance is not written in one way")
		}
	}
	if len(c.Ignore) > maxIgnored {
		return fmt.Errorf("compare: at most %d pointers", maxIgnored)
	}
	for i, p := range c.Ignore {
		if err := checkPointer(p); err != nil {
			return err
		}
		if i > 0 && c.Ignore[i-1] >= p {
			return errors.New("compare: pointers are in order, none twice")
		}
	}
	return nil
}

// checkPointer refuses what is no JSON pointer (RFC 6901) to a part of a value.
func checkPointer(p string) error {
	bare := strings.NewReplacer("~0", "", "~1", "").Replace(p)
	if !strings.HasPrefix(p, "/") || len(p) > maxPointer || strings.Contains(bare, "~") {
		try := "/" + strings.TrimPrefix(strings.TrimPrefix(p, "$"), ".")
		return &Problem{What: strconv.Quote(p) + " is not a JSON pointer", Try: "a path from the top, as " + strings.ReplaceAll(clip(try), ".", "/")}
	}
	return nil
}

// determined is the comparison as specs hold it.
func (c *Compare) determined() *Compare {
	d := *c
	if d.Float != "" {
		d.Float = d.Float.canonical()
	}
	d.Ignore = slices.Compact(slices.Sorted(slices.Values(c.Ignore)))
	if d.Ignore == nil {
		d.Ignore = []string{}
	}
	return &d
}

// Rests says what the agreement on the spec's outcome rests on.
func (s *Spec) Rests() consensus.Assurance {
	switch {
	case s.Compare != nil:
		return consensus.MajorityEqual
	case s.Check != nil:
		return consensus.Endorsed
	case s.Quorum.Size == 1 || s.Effects != "" || s.Assurance == consensus.Single:
		return consensus.Single
	}
	return consensus.Replicated
}
