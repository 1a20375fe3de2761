package wasm

import (
	"errors"
	"fmt"
)

// scanner walks the instructions of one function body or constant expression
// (core specification 2.0, section 5.4) and notes what the module as a whole
// must be known for.
type scanner struct {
	*reader
	floating bool // met an instruction on floats or vectors
	growsTab bool // met table.grow
}

// function reads a code entry: locals, then instructions to the last end.
func (s *scanner) function() error {
	groups, err := s.count(50000)
	if err != nil {
		return err
	}
	var locals uint64
	for range groups {
		n, err := s.u32()
		if err != nil {
			return err
		}
		if _, err := s.valueType(); err != nil {
			return err
		}
		if locals += uint64(n); locals > 50000 {
			return errors.New("more than 50000 locals")
		}
	}
	if err := s.expression(); err != nil {
		return err
	}
	if !s.empty() {
		return errors.New("bytes after the last instruction")
	}
	return nil
}

// expression reads instructions up to the end that closes the first block.
func (s *scanner) expression() error {
	for depth := 1; depth > 0; {
		op, err := s.byte()
		if err != nil {
			return err
		}
		switch op {
		case 0x02, 0x03, 0x04: // block, loop, if
			depth++
			err = s.blockType()
		case 0x0b: // end
			depth--
		default:
			err = s.instruction(op)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// blockType reads what a block takes and leaves: nothing, one value, or a type by its
// index, which is not negative.
func (s *scanner) blockType() error {
	if s.at < len(s.data) && s.data[s.at] >= 0x40 && s.data[s.at] < 0x80 {
		if s.data[s.at] == 0x40 {
			s.at++
			return nil
		}
		_, err := s.valueType()
		return err
	}
	if _, err := s.leb(33); err != nil {
		return err
	}
	if s.data[s.at-1]&0x40 != 0 {
		return errors.New("a block of a type that is not known")
	}
	return nil
}

// selected reads the types of a select: of one value. The engine takes their number
// for one byte.
func (s *scanner) selected() error {
	n, err := s.byte()
	if err == nil && n != 1 {
		err = fmt.Errorf("select of %d types", n)
	}
	if err == nil {
		_, err = s.valueType()
	}
	return err
}

// refType reads the type of a null: of a function or of something outside.
func (s *scanner) refType() error {
	b, err := s.byte()
	if err == nil && b != typeFuncRef && b != typeExtern {
		err = fmt.Errorf("null of type %#x", b)
	}
	return err
}

// instruction reads the immediates of any other instruction.
func (s *scanner) instruction(op byte) error {
	s.floating = s.floating || floatingOp(op)
	var err error
	switch {
	case op == 0x00, op == 0x01, op == 0x05, op == 0x0f, op == 0x1a, op == 0x1b, op == 0xd1,
		op >= 0x45 && op <= 0xc4: // unreachable, nop, else, return, drop, select, ref.is_null, numeric
	case op == 0x0c, op == 0x0d, op == 0x10, op == 0xd2, op >= 0x20 && op <= 0x26:
		_, err = s.u32() // br, br_if, call, ref.func, variables and tables
	case op == 0x0e: // br_table
		err = s.indices()
	case op == 0x11: // call_indirect
		err = s.pair()
	case op == 0x1c: // select with types
		err = s.selected()
	case op >= 0x28 && op <= 0x3e: // loads and stores
		err = s.pair()
	case op == 0x3f, op == 0x40: // memory.size, memory.grow
		err = s.zeros(1)
	case op == 0x41:
		_, err = s.leb(32)
	case op == 0x42:
		_, err = s.leb(64)
	case op == 0x43:
		_, err = s.take(4)
	case op == 0x44:
		_, err = s.take(8)
	case op == 0xd0: // ref.null
		err = s.refType()
	case op == 0xfc:
		err = s.prefixed()
	case op == 0xfd:
		err = s.vector()
	default:
		err = fmt.Errorf("instruction %#x is not offered (threads, tail calls, exceptions and later proposals are not)", op)
	}
	return err
}

// prefixed reads what follows 0xfc: saturating conversions and bulk memory.
func (s *scanner) prefixed() error {
	op, err := s.u32()
	if err != nil {
		return err
	}
	switch {
	case op <= 7: // i32.trunc_sat_f32_s and its kin
		s.floating = true
		return nil
	case op == 8: // memory.init
		if _, err := s.u32(); err != nil {
			return err
		}
		return s.zeros(1)
	case op == 10: // memory.copy
		return s.zeros(2)
	case op == 11: // memory.fill
		return s.zeros(1)
	case op == 12, op == 14: // table.init, table.copy
		return s.pair()
	case op == 15: // table.grow
		s.growsTab = true
		_, err := s.u32()
		return err
	case op == 9, op == 13, op == 16, op == 17: // data.drop, elem.drop, table.size, table.fill
		_, err := s.u32()
		return err
	default:
		return fmt.Errorf("instruction 0xfc %d is not offered", op)
	}
}

// floatingOp reports whether a plain instruction loads, stores, makes, compares
// or converts floats. Reinterpretations count: they have no use without others.
func floatingOp(op byte) bool {
	switch {
	case op == 0x2a, op == 0x2b, op == 0x38, op == 0x39: // loads and stores
	case op == 0x43, op == 0x44: // constants
	case op >= 0x5b && op <= 0x66: // comparisons
	case op >= 0x8b && op <= 0xa6: // arithmetic
	case op >= 0xa8 && op <= 0xab, op >= 0xae && op <= 0xbf: // conversions
	default:
		return false
	}
	return true
}

func (s *scanner) pair() error {
	if _, err := s.u32(); err != nil {
		return err
	}
	_, err := s.u32()
	return err
}

func (s *scanner) indices() error {
	n, err := s.u32()
	if err != nil {
		return err
	}
	for range uint64(n) + 1 {
		if _, err := s.u32(); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) zeros(n uint32) error {
	b, err := s.take(n)
	if err != nil {
		return err
	}
	for _, v := range b {
		if v != 0 {
			return errors.New("memory other than the first")
		}
	}
	return nil
}
