package wasm

import (
	"errors"
	"fmt"
)

// vector reads what follows 0xfd: an instruction on vectors (core specification
// 2.0, section 5.4.8). The engine reads one byte of its number, and the second
// byte of a number from 128 as a nop: only where that is the number's shortest
// form do both see the same instructions after it.
func (s *scanner) vector() error {
	s.floating = true
	before := s.at
	op, err := s.u32()
	if err != nil {
		return err
	}
	if !vectorOp(op) {
		return fmt.Errorf("instruction 0xfd %d is not offered", op)
	}
	if length := s.at - before; length > 2 || length == 2 && op < 0x80 {
		return errors.New("number of a vector instruction longer than need be")
	}
	switch {
	case op <= 11, op == 92, op == 93: // loads and stores
		err = s.pair()
	case op >= 84 && op <= 91: // loads and stores of a lane
		if err = s.pair(); err == nil {
			_, err = s.byte()
		}
	case op == 12, op == 13: // v128.const, i8x16.shuffle
		_, err = s.take(16)
	case op >= 21 && op <= 34: // extract_lane, replace_lane
		_, err = s.byte()
	}
	return err
}

// vectorOp reports whether the specification has a vector instruction of that
// number.
func vectorOp(op uint32) bool {
	switch op {
	case 154, 162, 165, 166, 175, 176, 178, 179, 180, 187, 194, 197, 198, 207, 208, 210, 211, 212, 226, 238:
		return false
	default:
		return op <= 255
	}
}
