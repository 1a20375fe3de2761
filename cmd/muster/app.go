package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"

	"github.com/charmbracelet/x/term"
	"github.com/spf13/cobra"

	"github.com/muster-network/muster/api/client"
	"github.com/muster-network/muster/jobs"
	"github.com/muster-network/muster/node"
)

// app is one call of the program: where it reads and writes, and what its
// settings say. Data goes to out, everything else to err.
type app struct {
	in  io.Reader
	out io.Writer
	err io.Writer

	set     settings
	format  string // -o
	query   string // --jq
	quiet   bool   // -q
	testnet bool   // --testnet
}

func newApp(in io.Reader, out, err io.Writer, env func(string) (string, bool)) *app {
	return &app{in: in, out: out, err: err, set: settings{env: env}}
}

// root builds the tree of commands: bare verbs for work on jobs, nouns for
// administration.
func (a *app) root() *cobra.Command {
	c := &cobra.Command{
		Use:   "muster",
		Short: "A peer-to-peer job network that hands back certified results",
		Long: "muster turns machines into a peer-to-peer job network with no coordinator.\n" +
			"A quorum runs each job, agrees on one outcome, and hands back a certificate\n" +
			"that anyone can check offline.",
		SilenceErrors: true, SilenceUsage: true,
		SuggestionsMinimumDistance: 2,
		Args:                       noSuchCommand,
		RunE:                       func(c *cobra.Command, _ []string) error { return c.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if err := a.checkFormat(); err != nil {
				return err
			}
			return a.set.check()
		},
	}
	c.SetIn(a.in)
	c.SetOut(a.out)
	c.SetErr(a.err)
	c.SetFlagErrorFunc(flagError)
	flags := c.PersistentFlags()
	flags.StringVarP(&a.format, "output", "o", formatTable, "table, wide, json, yaml or name")
	flags.StringVar(&a.query, "jq", "", "filter the JSON with a jq expression")
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "ids only")
	flags.BoolVar(&a.testnet, "testnet", false, "talk to the running testnet's first node")
	a.set.flags(flags)
	completeWords(c, "output", formatTable, formatWide, formatJSON, formatYAML, formatName)
	c.AddGroup(&cobra.Group{ID: groupJobs, Title: "Jobs:"}, &cobra.Group{ID: groupAdmin, Title: "Network and nodes:"})
	for group, commands := range map[string][]*cobra.Command{
		groupJobs: {a.runCommand(), a.submitCommand(), a.validateCommand(), a.schemaCommand(), a.psCommand(), a.statusCommand(),
			a.logsCommand(), a.waitCommand(), a.resultCommand(), a.cancelCommand(), a.retryCommand(), a.verifyCommand(), a.evidenceCommand()},
		groupAdmin: {a.networkCommand(), a.nodeCommand(), a.peersCommand(), a.eventsCommand(), a.testnetCommand(), a.benchCommand(),
			a.configCommand(), a.versionCommand()},
	} {
		for _, command := range commands {
			command.GroupID = group
			c.AddCommand(command)
		}
	}
	c.SetCompletionCommandGroupID(groupAdmin)
	c.InitDefaultCompletionCmd()
	for _, made := range c.Commands() { // it would take any shell's name, and do nothing
		if made.Name() == "completion" {
			made.Args, made.RunE = noSuchCommand, func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
	c.SetHelpCommandGroupID(groupAdmin)
	return c
}

// Groups of commands in the help.
const (
	groupJobs  = "jobs"
	groupAdmin = "admin"
)

// client talks to the node that the settings name, and judges certificates by
// the genesis of this machine's own network. Where there is none that this user
// may read, what the node names its network's has to do.
func (a *app) client() (*client.Client, error) {
	home, err := a.home()
	if err != nil {
		return nil, err
	}
	genesis, err := node.GenesisFile(home)
	if p := new(jobs.Problem); errors.As(err, &p) || errors.Is(err, fs.ErrPermission) {
		genesis, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	return a.clientOf(genesis)
}

// clientOf talks to the node that the settings name, and judges certificates by a
// genesis.
func (a *app) clientOf(genesis []byte) (*client.Client, error) {
	address, err := a.address()
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{Address: address, Token: a.set.get(keyToken), Genesis: genesis})
}

// address is the API of the testnet's first node, a given address, or this
// user's socket.
func (a *app) address() (string, error) {
	if a.testnet {
		return a.testnetAddress()
	}
	if api := a.set.get(keyAPI); api != "" {
		return api, nil
	}
	return "unix:" + a.set.get(keySocket), nil
}

// muster is how this program is called to talk to the same node, for hints.
func (a *app) muster() string {
	if a.testnet {
		return "muster --testnet"
	}
	return "muster"
}

// hint is a hint by whoever does not know how this program was called: commands
// that ask the node have to ask the same one.
func (a *app) hint(try string) string {
	if !a.testnet {
		return try
	}
	asks := regexp.MustCompile(`\bmuster ((?:ps|status|logs|wait|result|cancel|retry|verify|evidence|run|submit|peers|events|` +
		`network (?:members|invite|revoke|genesis)|node (?:status|stop))\b)`)
	return asks.ReplaceAllString(try, a.muster()+" $1")
}

// terminal reports whether a stream is one, so that colour and live output make
// sense.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(f.Fd())
}

// withClient is the body of most commands: connect, ask, show.
func (a *app) withClient(fn func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		defer c.Close()
		return fn(command.Context(), c, args)
	}
}
