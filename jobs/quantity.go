package jobs

import (
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// Size is a number of bytes, written 128Mi, 64MiB, 1G, or as a plain number.
type Size uint64

// CPU is a part of a processor in thousandths of a core, written 0.1, 2 or 500m.
type CPU uint64

// Duration is a time in whole milliseconds, written 30s, 2h or 1m30s.
type Duration time.Duration

// FaultModel is the word of a job file for what members may do: byzantine or
// crash.
type FaultModel string

// The fault models of a job file.
const (
	FaultsByzantine FaultModel = "byzantine"
	FaultsCrash     FaultModel = "crash"
)

// AssuranceWord is the word of a job file for what agreement rests on.
type AssuranceWord string

// The assurances of a job file.
const (
	AssuranceReplicated    AssuranceWord = "replicated"
	AssuranceSingle        AssuranceWord = "single"
	AssuranceMajorityEqual AssuranceWord = "majority-equal"
	AssuranceEndorsed      AssuranceWord = "endorsed"
)

// EffectsWord is the word of a job file for a program that acts on the world: what
// becomes of a run that was cut off.
type EffectsWord string

// The effects of a job file.
const (
	EffectsOnce        EffectsWord = "once"
	EffectsAtLeastOnce EffectsWord = "at-least-once"
)

// Reference names content: file:PATH, cid:CID or builtin:NAME.
type Reference string

const (
	schemeFile    = "file"
	schemeCID     = "cid"
	schemeBuiltin = "builtin"
)

const maxReference = 4096

var sizeUnits = []struct {
	suffix string
	bytes  uint64
}{
	{"Ti", 1 << 40}, {"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10},
	{"T", 1e12}, {"G", 1e9}, {"M", 1e6}, {"k", 1e3}, {"K", 1e3},
}

// UnmarshalText reads a size above 0 and of at most 1 TiB.
func (s *Size) UnmarshalText(text []byte) error {
	number, unit := string(text), uint64(1)
	trimmed := strings.TrimSuffix(number, "B")
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(trimmed, u.suffix); ok {
			number, unit = n, u.bytes
			break
		}
	}
	if unit == 1 {
		number = trimmed
	}
	value, ok := scaled(strings.TrimSpace(number), unit)
	if !ok || value == 0 || value > 1<<40 {
		return &Problem{What: strconv.Quote(string(text)) + " is not a size", Try: "128Mi, 1G, or a whole number of bytes, up to 1Ti"}
	}
	*s = Size(value)
	return nil
}

// MarshalText writes the size with the largest binary unit that loses nothing.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String is what MarshalText writes.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if strings.HasSuffix(u.suffix, "i") && s != 0 && uint64(s)%u.bytes == 0 {
			return strconv.FormatUint(uint64(s)/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatUint(uint64(s), 10)
}

// UnmarshalText reads a part of a processor above 0, of at most 1,024 cores.
func (c *CPU) UnmarshalText(text []byte) error {
	number, unit := string(text), uint64(1000)
	if milli, ok := strings.CutSuffix(number, "m"); ok {
		number, unit = milli, 1
	}
	value, ok := scaled(number, unit)
	if !ok || value == 0 || value > 1024*1000 {
		return &Problem{What: strconv.Quote(string(text)) + " is not a number of cores", Try: "0.1, 2, or 500m, in steps of 1m, up to 1024"}
	}
	*c = CPU(value)
	return nil
}

// MarshalText writes whole cores, or thousandths with an m.
func (c CPU) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// String is what MarshalText writes.
func (c CPU) String() string {
	if c%1000 == 0 {
		return strconv.FormatUint(uint64(c)/1000, 10)
	}
	return strconv.FormatUint(uint64(c), 10) + "m"
}

// UnmarshalText reads a time of 1 ms to 10 years.
func (d *Duration) UnmarshalText(text []byte) error {
	value, err := time.ParseDuration(string(text))
	if err != nil || value < time.Millisecond || value%time.Millisecond != 0 || value > 10*365*24*time.Hour {
		return &Problem{What: strconv.Quote(string(text)) + " is not a time", Try: "30s, 1m30s or 2h, in whole milliseconds, up to 87600h"}
	}
	*d = Duration(value)
	return nil
}

// MarshalText writes the time as Go does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is what MarshalText writes.
func (d Duration) String() string { return time.Duration(d).String() }

// Milliseconds returns the time in the unit of sealed formats.
func (d Duration) Milliseconds() int64 { return time.Duration(d).Milliseconds() }

// UnmarshalText reads one of the fault models.
func (m *FaultModel) UnmarshalText(text []byte) error {
	switch model := FaultModel(text); model {
	case FaultsByzantine, FaultsCrash:
		*m = model
		return nil
	}
	return &Problem{What: strconv.Quote(string(text)) + " is not a fault model", Try: "byzantine or crash"}
}

// UnmarshalText reads one of the assurances.
func (a *AssuranceWord) UnmarshalText(text []byte) error {
	*a = AssuranceWord(text)
	return OneOf(string(text), "is not an assurance", string(AssuranceReplicated), string(AssuranceSingle), string(AssuranceMajorityEqual), string(AssuranceEndorsed))
}

// UnmarshalText reads one of the effects.
func (e *EffectsWord) UnmarshalText(text []byte) error {
	*e = EffectsWord(text)
	return OneOf(string(text), "says nothing of effects", string(EffectsOnce), string(EffectsAtLeastOnce))
}

// OneOf refuses a text that is none of the words, with a *Problem that names the
// one that was probably meant. Its code is the caller's to say.
func OneOf(text, not string, words ...string) error {
	if slices.Contains(words, text) {
		return nil
	}
	p := &Problem{What: strconv.Quote(text) + " " + not, Try: strings.Join(words, ", ")}
	if near := nearest(text, words); near != "" {
		p.Try = "did you mean " + near + "?"
	}
	return p
}

// UnmarshalText reads a reference and refuses one that can name nothing.
func (r *Reference) UnmarshalText(text []byte) error {
	ref := Reference(text)
	scheme, rest := ref.cut()
	problem := &Problem{What: strconv.Quote(string(text)) + " is not a reference", Try: "file:./PATH, cid:CID or builtin:NAME"}
	if len(text) > maxReference || strings.ContainsRune(string(text), 0) || rest == "" {
		return problem
	}
	switch scheme {
	case schemeFile:
	case schemeCID:
		if _, err := ref.CID(); err != nil {
			return err
		}
	case schemeBuiltin:
		if CheckPath(rest) != nil || strings.Contains(rest, "/") {
			return problem
		}
	default:
		return problem
	}
	*r = ref
	return nil
}

// CID returns what a cid: reference names: a CIDv1 with SHA-256.
func (r Reference) CID() (cid.Cid, error) {
	scheme, rest := r.cut()
	c, err := cid.Decode(rest)
	if scheme != schemeCID || err != nil || c.Version() != 1 || c.Prefix().MhType != multihash.SHA2_256 {
		return cid.Undef, &Problem{What: strconv.Quote(string(r)) + " is not cid: with a CIDv1 by SHA-256"}
	}
	return c, nil
}

// Path returns the path of a file: reference.
func (r Reference) Path() (string, bool) {
	scheme, rest := r.cut()
	return rest, scheme == schemeFile
}

// Builtin returns the name of a builtin: reference.
func (r Reference) Builtin() (string, bool) {
	scheme, rest := r.cut()
	return rest, scheme == schemeBuiltin
}

func (r Reference) cut() (scheme, rest string) {
	for _, scheme := range []string{schemeFile, schemeCID, schemeBuiltin} {
		if rest, ok := strings.CutPrefix(string(r), scheme+":"); ok {
			return scheme, rest
		}
	}
	return "", string(r)
}

// scaled returns number * unit, for a plain decimal number whose product is
// whole and fits.
func scaled(number string, unit uint64) (uint64, bool) {
	whole, fraction, point := strings.Cut(number, ".")
	if !digits(whole) || point && !digits(fraction) || len(number) > 32 {
		return 0, false
	}
	value, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, false
	}
	value.Mul(value, new(big.Rat).SetInt(new(big.Int).SetUint64(unit)))
	return value.Num().Uint64(), value.IsInt() && value.Num().IsUint64()
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
