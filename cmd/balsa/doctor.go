package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/balsadb/balsa/internal/datadir"
	"github.com/balsadb/balsa/vfs"
)

func doctorCommand() *cobra.Command {
	var o statusOptions
	dir := ""
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at a cluster from name to clock, or at a stopped member's directory, and grade what is found",
		Long: "For each endpoint: its name, its port, TLS and certificates, what the member says of itself, and then the cluster: leader, majority, disks, clocks. " +
			"With --data-dir it looks at a stopped member's directory instead: whose it is, whether a server would start there, and all that balsa verify reads.\n" +
			"Findings are graded ok, note, warning and failing, each with what to do. The exit code is 0 up to a note, 1 where something is failing, and 6 for a warning.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.output != "text" && o.output != "json" {
				return usage(cmd, fmt.Errorf("-o %s: it must be text or json", o.output))
			}
			var d doctor
			if dir != "" {
				d.directory(cmd.Context(), dir)
			} else if err := d.cluster(cmd.Context(), o); err != nil {
				return err
			}
			return d.conclude(cmd.OutOrStdout(), o.output == "json")
		},
	}
	o.addFlags(cmd, "text", "text or json")
	cmd.Flags().StringVar(&dir, "data-dir", "", "a stopped member's data directory to look at instead")
	return cmd
}

// grade says how bad something is.
type grade int

const (
	gradeOK grade = iota
	gradeNote
	gradeWarning
	gradeFailing
)

func (g grade) String() string { return [...]string{"ok", "note", "warning", "FAILING"}[g] }

// MarshalText implements encoding.TextMarshaler.
func (g grade) MarshalText() ([]byte, error) { return []byte(strings.ToLower(g.String())), nil }

// graded is one finding.
type graded struct {
	Grade  grade  `json:"grade"`
	Step   string `json:"step"`
	About  string `json:"about"`
	Text   string `json:"text"`
	Remedy string `json:"remedy,omitempty"`
}

type doctor struct {
	Findings []graded `json:"findings"`
}

func (d *doctor) add(g grade, step, about, remedy, format string, args ...any) {
	d.Findings = append(d.Findings, graded{g, step, about, fmt.Sprintf(format, args...), remedy})
}

func (d *doctor) conclude(out io.Writer, asJSON bool) error {
	worst := gradeOK
	for _, f := range d.Findings {
		worst = max(worst, f.Grade)
	}
	var err error
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(d)
	} else {
		for _, f := range d.Findings {
			fmt.Fprintf(out, "%-8s %-9s %s: %s\n", f.Grade, f.Step, f.About, f.Text)
			if f.Remedy != "" {
				fmt.Fprintf(out, "%-18s → %s\n", "", f.Remedy)
			}
		}
	}
	switch worst {
	case gradeFailing:
		return errors.Join(err, exitCode(exitError))
	case gradeWarning:
		return errors.Join(err, exitCode(exitWarning))
	}
	return err
}

// cluster goes from the name to the clock, for each endpoint as far as it comes, and then looks at all of them together.
func (d *doctor) cluster(ctx context.Context, o statusOptions) error {
	config, err := o.tls()
	if err != nil {
		return err
	}
	for _, endpoint := range o.endpoints {
		d.endpoint(ctx, strings.TrimSpace(endpoint), config, o)
	}
	answers := askAll(ctx, config, o)
	for _, a := range answers {
		if a.Error != "" {
			d.add(gradeFailing, "member", a.Endpoint, "see what was found on the way to it above, and its log", "it does not tell how it is: %s", a.Error)
			continue
		}
		d.member(a)
	}
	switch why := diagnose(answers); why.Leader {
	case "":
		d.add(gradeFailing, "leader", "cluster", strings.Join(why.Do, "; "), "there is no leader: %s", strings.Join(why.Why, "; "))
	default:
		d.add(gradeOK, "leader", "cluster", "", "%s leads", why.Leader)
		d.majority(answers)
	}
	return nil
}

// endpoint checks name, port and TLS.
func (d *doctor) endpoint(ctx context.Context, endpoint string, config *tls.Config, o statusOptions) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	secure := strings.HasPrefix(endpoint, "https://") || !strings.Contains(endpoint, "://") && (o.ca != "" || o.cert != "")
	address := endpoint
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		address = u.Host
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		d.add(gradeFailing, "name", endpoint, "give --endpoints as host:port, or as a URL", "it is no address: %v", err)
		return
	}
	addresses, err := new(net.Resolver).LookupHost(ctx, host)
	if err != nil {
		d.add(gradeFailing, "name", endpoint, "correct the name, or the DNS of this machine", "%s has no address: %v", host, plainly(err))
		return
	}
	d.add(gradeOK, "name", endpoint, "", "%s is %s", host, strings.Join(addresses, ", "))
	began := time.Now()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		d.add(gradeFailing, "tcp", endpoint, "see whether the server runs there, and listens on this address (--listen-client-urls), and whether a firewall is between", "%v", plainly(err))
		return
	}
	defer conn.Close()
	d.add(gradeOK, "tcp", endpoint, "", "connected in %.1f ms", float64(time.Since(began).Microseconds())/1000)
	if !secure {
		d.add(gradeNote, "tls", endpoint, "give the members --cert-file and --key-file, where others share the network", "without TLS: who is on the way reads and changes everything")
		return
	}
	d.certificates(ctx, endpoint, host, conn, config)
}

// certificates checks the TLS handshake, and whether the server's certificate ends soon.
func (d *doctor) certificates(ctx context.Context, endpoint, host string, conn net.Conn, config *tls.Config) {
	config = config.Clone()
	config.ServerName = host
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		d.add(gradeFailing, "tls", endpoint, "see whether --cacert is the authority of the server's certificate, whether its names have this one, and whether the server asks for --cert", "%v", plainly(err))
		return
	}
	for _, c := range secure.ConnectionState().PeerCertificates {
		switch left := time.Until(c.NotAfter); {
		case left < 7*24*time.Hour:
			d.add(gradeWarning, "tls", endpoint, "renew it: servers take a new file without a restart", "the certificate of %s ends on %s", c.Subject, c.NotAfter.Format(time.DateOnly))
		case left < 30*24*time.Hour:
			d.add(gradeNote, "tls", endpoint, "renew it before", "the certificate of %s ends on %s", c.Subject, c.NotAfter.Format(time.DateOnly))
		default:
			d.add(gradeOK, "tls", endpoint, "", "the certificate of %s is good until %s", c.Subject, c.NotAfter.Format(time.DateOnly))
		}
	}
}

// member grades what a member says of itself.
func (d *doctor) member(a endpointStatus) {
	s := a.Status
	switch {
	case s.Fault != "":
		d.add(gradeFailing, "member", s.Name, "see to the reason, and start it again", "it takes part in nothing: %s", s.Fault)
	case !s.Ready:
		d.add(gradeWarning, "member", s.Name, "wait: it is applying what its log holds", "it is not ready yet: applied %d of %d", s.Applied, s.Commit)
	default:
		d.add(gradeOK, "member", s.Name, "", "%s of term %d, version %s, answers in %.1f ms", s.Role, s.Term, s.Version, a.RoundTrip)
	}
	for _, t := range s.Troubles {
		g := gradeFailing
		if t.Warning {
			g = gradeWarning
		}
		d.add(g, "trouble", s.Name, t.Remedy, "%s: %s, since %s", t.Kind, t.Text, t.Since.Format(time.RFC3339))
	}
	if s.Last > s.Stable+1000 {
		d.add(gradeWarning, "disk", s.Name, "see whether its disk is slow, or shared with something that is", "%d entries wait for its disk", s.Last-s.Stable)
	} else if !slices.ContainsFunc(s.Troubles, func(t trouble) bool { return strings.HasPrefix(t.Kind, "disk") }) {
		d.add(gradeOK, "disk", s.Name, "", "what it was given is durable")
	}
	for _, l := range s.Links {
		if l.RoundTrip*10 > s.ElectionTimeout {
			d.add(gradeWarning, "network", s.Name, fmt.Sprintf("give all members an --election-timeout of at least %.0f ms", l.RoundTrip*10),
				"the round trip to %s is %.1f ms, and the election timeout %.0f ms", l.Name, l.RoundTrip, s.ElectionTimeout)
		}
	}
	d.clock(s.Name, a)
}

// clock compares a member's clock with ours: balsa itself does not need them to agree, people who read logs do.
func (d *doctor) clock(name string, a endpointStatus) {
	if a.Status.Now.IsZero() {
		return
	}
	if off := a.Status.Now.Sub(a.Asked).Abs(); off > 2*time.Second+time.Duration(a.RoundTrip*float64(time.Millisecond)) {
		d.add(gradeNote, "clock", name, "let NTP keep the clocks: nothing here depends on it, but logs and certificates do", "its clock and this machine's differ by %v", off.Round(time.Second/10))
		return
	}
	d.add(gradeOK, "clock", name, "", "as this machine's")
}

// majority says how many members may be lost.
func (d *doctor) majority(answers []endpointStatus) {
	for _, a := range answers {
		if a.Status == nil || a.Status.Role != "leader" {
			continue
		}
		voters, up := 0, 1
		for _, s := range a.Status.Seats {
			if !s.Votes {
				continue
			}
			voters++
			for _, f := range a.Status.Followers {
				if f.Member == s.Member && f.Connected {
					up++
				}
			}
		}
		spare := up - (voters/2 + 1)
		switch {
		case voters == 1:
			d.add(gradeNote, "majority", "cluster", "add two members, so that one may be lost", "there is one member: its disk is all there is")
		case spare <= 0:
			d.add(gradeWarning, "majority", "cluster", "bring the others back", "%d of %d members that vote are connected: the next one that is lost stops all writes", up, voters)
		default:
			d.add(gradeOK, "majority", "cluster", "", "%d of %d members that vote are connected: %d more may be lost", up, voters, spare)
		}
		return
	}
}

// directory looks at a stopped member's data directory.
func (d *doctor) directory(ctx context.Context, dir string) {
	fsys := vfs.NewOS(dir)
	if identity, err := datadir.Inspect(fsys, dir); err == nil && identity == nil {
		d.add(gradeFailing, "identity", dir, "name the --data-dir of a member; an emptied one is brought back by balsa rejoin", "there is no data directory of balsa there")
		return
	}
	if err := datadir.CheckSuperseded(fsys, dir); err != nil {
		d.add(gradeWarning, "recovery", dir, "start the directory that was made from it", "%v", err)
	}
	if r, err := datadir.ReadRecovery(fsys); err == nil && r != nil {
		d.add(gradeNote, "recovery", dir, "", "it was made by balsa recover on %s, from %s of cluster %s", r.Made.Format(time.RFC3339), r.FormerName, r.FormerClusters[0])
	}
	v := &verdict{Path: dir}
	if err := v.directory(ctx); err != nil {
		d.add(gradeFailing, "directory", dir, "stop the server that uses it, or ask that one with --endpoints", "%v", err)
		return
	}
	for _, f := range v.Findings {
		if f.Sound {
			d.add(gradeOK, f.Part, dir, "", "%s", f.Looked)
			continue
		}
		d.add(gradeFailing, f.Part, dir, "where the other members are well, start it: it repairs itself from them where it can, and says where it cannot; then balsa rejoin", "%s", strings.Join(f.Damages, "; "))
	}
}
