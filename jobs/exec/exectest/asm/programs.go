package asm

const wasi = "wasi_snapshot_preview1"

// WASI returns the import of a function of WASI that takes n i32 and returns
// one.
func WASI(name string, n int) Import {
	im := Import{Module: wasi, Name: name, Results: []byte{I32}}
	for range n {
		im.Params = append(im.Params, I32)
	}
	return im
}

// Hello returns the program that prints "Hello, NAME" and a newline, NAME
// being its first argument after its own name, or "World".
func Hello() Program {
	const (
		written, argc, size = 0, 4, 8
		iovecs              = 16 // three of 8 bytes
		greeting, world     = 64, 80
		end                 = 96
		argv                = 1024  // pointers
		text                = 32768 // what they point to
	)
	const at, last = 0, 1 // locals: start of the name, and its end
	return Program{
		Imports: []Import{WASI("args_sizes_get", 2), WASI("args_get", 2), WASI("fd_write", 4)},
		Locals:  2,
		Pages:   2,
		Data:    map[uint32]string{greeting: "Hello, ", world: "World", end: "\n"},
		Code: Join(
			Const(argc), Const(size), Call(0), Drop,
			Const(argv), Const(text), Call(1), Drop,
			Const(world), Set(at),
			// if argc >= 2: at = argv[1]
			Const(argc), Load(0), Const(2), 0x4f, 0x04, 0x40,
			Const(argv+4), Load(0), Set(at),
			0x0b,
			// last = at; while *last != 0: last++
			Get(at), Set(last),
			0x02, 0x40, 0x03, 0x40,
			Get(last), Load8(), 0x45, 0x0d, 1,
			Get(last), Const(1), Add, Set(last),
			0x0c, 0, 0x0b, 0x0b,
			// iovecs = greeting, name, end
			Const(iovecs), Const(greeting), Store(0),
			Const(iovecs), Const(7), Store(4),
			Const(iovecs), Get(at), Store(8),
			Const(iovecs), Get(last), Get(at), Sub, Store(12),
			Const(iovecs), Const(end), Store(16),
			Const(iovecs), Const(1), Store(20),
			Const(1), Const(iovecs), Const(3), Const(written), Call(2), Drop,
		),
	}
}
