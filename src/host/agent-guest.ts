import {
  CHUNK_BYTES,
  FROM_AGENT,
  GREETING_MAGIC,
  MAX_FRAME_BYTES,
  NONCE_BYTES,
  TAG_BYTES,
  TO_AGENT,
  WINDOW_BYTES,
} from './agent-frames.ts';

/**
 * The command agent that runs in the machine: `perl AGENT PORT`. One process, one loop, no modules but those of perl-base, which every Debian has
 * (`Essential: yes`). It says `ready` on standard error once it has the port. The protocol is in agent-frames.ts.
 *
 * A virtio-serial port without a host reads as end-of-file at once, and polls as readable (Linux, drivers/char/virtio_console.c, `port_fops_read`, `port_fops_poll`),
 * so neither waits for a host; SIGIO does, which the driver sends when one comes (`handle_control_message`). What a host does not live to read is dropped, and
 * its commands are ended with it.
 *
 * Of what a command leaves behind in the background with its outputs open, what is printed within a second of the one before still belongs to it.
 */
export const AGENT_PROGRAM = String.raw`
use strict; use warnings;
use Errno; use Fcntl; use POSIX ();
my ($path) = @ARGV;
delete $ENV{PERL_BADLANG};
my ($MAGIC, $NONCE, $TAG) = ("${GREETING_MAGIC.toString('latin1')}", ${NONCE_BYTES}, ${TAG_BYTES});
my ($MAX_FRAME, $CHUNK, $WINDOW, $MAX_OUT) = (${MAX_FRAME_BYTES}, ${CHUNK_BYTES}, ${WINDOW_BYTES}, ${2 * WINDOW_BYTES});
my ($WORDS, $EXEC, $STDIN, $EOF, $STOP, $GRANT, $WAKE, $PING) = (${Object.values(TO_AGENT).join(', ')});
my ($EXIT, $OUT, $ERR, $CREDIT, $WOKEN, $PONG) = (${Object.values(FROM_AGENT).join(', ')});
my ($LINGER, $TICKS) = (1, POSIX::sysconf(POSIX::_SC_CLK_TCK()));
# Numbers of Linux that perl-base has no names for.
my ($O_ASYNC, $F_SETOWN, $F_SETPIPE_SZ, $SIGIO) = (020000, 8, 1031, 29);
# The line's buffers; the open commands by channel; the groups to be killed by leader, with the time for it.
my ($in, $out, $tag, %words, %commands, %doomed) = ("", "", undef);
$SIG{PIPE} = "IGNORE"; $SIG{$_} = sub {} for qw(ALRM CHLD IO);

my $port;
# An inherited descriptor: for tests without a machine.
if ($path =~ /^fd:(\d+)\z/) { open($port, "+<&=", $1) or die "cannot open $path: $!\n" }
else { sysopen($port, $path, O_RDWR | O_NONBLOCK | O_NOCTTY) or die "cannot open $path: $!\n" }
fcntl($port, F_SETFD, FD_CLOEXEC);
fcntl($port, $F_SETOWN, $$ + 0);
fcntl($port, F_SETFL, O_RDWR | O_NONBLOCK);
# Without the agent there is no way into the machine, so it is the last to go when memory runs out; as sshd does it.
my $killable = oom(-1000);
syswrite STDERR, "ready\n";

sub now { (POSIX::times())[0] / $TICKS }

sub oom {
  my ($value) = @_;
  open(my $file, "+<", "/proc/self/oom_score_adj") or return 0;
  my $before = <$file>;
  syswrite $file, $value;
  return $before + 0;
}

sub frame { my ($type, $id, $data) = @_; $out .= pack("NCN", 5 + length $data, $type, $id) . $data }

sub drop {
  kill "KILL", -$_ for keys %doomed, map { $_->{pid} } values %commands;
  close_all($_) for values %commands;
  (%commands, %doomed, %words) = (); ($in, $out, $tag) = ("", "", undef);
}

sub close_all { my ($c) = @_; for (qw(in out err)) { close $c->{$_} if $c->{$_}; $c->{$_} = undef } }

sub start {
  my ($id, $data) = @_;
  my ($count, @env) = split /\0/, $data, -1;
  my @argv = splice @env, 0, $count;
  my ($r0, $w0, $r1, $w1, $r2, $w2);
  my $pid = pipe($r0, $w0) && pipe($r1, $w1) && pipe($r2, $w2) ? fork : undef;
  if (!defined $pid) {
    frame($ERR, $id, "no process can be started: $!\n");
    return frame($EXIT, $id, pack("NN", 126, 0));
  }
  if (!$pid) {
    setpgrp(0, 0);
    $SIG{$_} = "DEFAULT" for qw(ALRM CHLD IO PIPE);
    oom($killable);
    for (@env) { my ($name, $value) = split /=/, $_, 2; $ENV{$name} = $value if length $name }
    POSIX::dup2(fileno $r0, 0); POSIX::dup2(fileno $w1, 1); POSIX::dup2(fileno $w2, 2);
    { no warnings; exec { $argv[0] } @argv; }
    my $missing = $!{ENOENT};
    syswrite STDERR, "$argv[0]: $!\n";
    POSIX::_exit($missing ? 127 : 126);
  }
  setpgrp($pid, $pid);
  for ($w0, $r1, $r2) { fcntl($_, F_SETFL, O_NONBLOCK); fcntl($_, $F_SETPIPE_SZ, $WINDOW) }
  $commands{$id} = {pid => $pid, in => $w0, out => $r1, err => $r2, buf => "", win => {out => $WINDOW, err => $WINDOW}};
}

sub wake {
  my ($sec, $nsec, $entropy) = unpack "NNa*", shift;
  # clock_settime(CLOCK_REALTIME) is 227 in arch/x86/entry/syscalls/syscall_64.tbl.
  my $is_set = (POSIX::uname())[4] eq "x86_64" && syscall(227, 0, pack "qq", $sec, $nsec) == 0;
  $is_set ||= system("date", "-s", sprintf("\@%d.%09d", $sec, $nsec)) == 0;
  return "its clock cannot be set: $!" if !$is_set;
  sysopen(my $random, "/dev/urandom", O_RDWR) or return "its random numbers cannot be stirred: $!";
  # RNDADDENTROPY, then RNDRESEEDCRNG (random(4); Linux 4.14); without the first the bytes are mixed in at least.
  my $info = pack("ll", 8 * length $entropy, length $entropy) . $entropy;
  ioctl($random, 0x40085203, $info) or syswrite $random, $entropy;
  ioctl($random, 0x5207, 0);
  return "ok";
}

sub stop { my ($c, $grace_ms) = @_; kill "TERM", -$c->{pid}; $doomed{$c->{pid}} = now() + $grace_ms / 1000 }

sub handle {
  my ($type, $id, $data) = @_;
  my $c = $commands{$id};
  if ($type == $WORDS) { $words{$id} .= $data }
  elsif ($type == $EXEC) { start($id, (delete $words{$id} // "") . $data) }
  elsif ($type == $PING) { frame($PONG, $id, $data) }
  elsif ($type == $WAKE) { frame($WOKEN, $id, wake($data)) }
  elsif (!$c) { }
  elsif ($type == $STDIN) { $c->{buf} .= $data if $c->{in} }
  elsif ($type == $EOF) { $c->{eof} = 1 }
  elsif ($type == $STOP) { stop($c, unpack "N", $data) }
  elsif ($type == $GRANT) { my ($s, $n) = unpack "CN", $data; $c->{win}{$s == 1 ? "out" : "err"} += $n }
}

sub parse {
  while (1) {
    if (!defined $tag) {
      my $at = index $in, $MAGIC;
      if ($at < 0) { substr $in, 0, -length $MAGIC, "" if length $in > length $MAGIC; return }
      substr $in, 0, $at, "";
      return if length $in < $NONCE + length $MAGIC;
      my $greeting = substr $in, 0, $NONCE + length $MAGIC, "";
      $out .= $greeting;
      $tag = substr $greeting, length $MAGIC, $TAG;
    }
    return if length $in < 4;
    my $length = unpack "N", $in;
    my $is_frame = $length >= 5 + $TAG && $length <= $MAX_FRAME;
    return if $is_frame && length $in < 4 + $length;
    # A new host has come in the middle of an old one's frame: its greeting is here or still to come.
    if (!$is_frame || substr($in, 4 + $length - $TAG, $TAG) ne $tag) { my $rest = $in; drop(); $in = $rest; next }
    my (undef, $type, $id, $data) = unpack "NCNa*", substr $in, 0, 4 + $length, "";
    handle($type, $id, substr $data, 0, -$TAG);
  }
}

sub feed {
  my ($id, $c) = @_;
  if (length $c->{buf}) {
    my $n = syswrite $c->{in}, $c->{buf};
    if (defined $n) { substr $c->{buf}, 0, $n, ""; frame($CREDIT, $id, pack "N", $n) }
    elsif (!$!{EAGAIN} && !$!{EINTR}) { $c->{buf} = ""; close $c->{in}; $c->{in} = undef }
  }
  if ($c->{in} && $c->{eof} && !length $c->{buf}) { close $c->{in}; $c->{in} = undef }
}

sub collect {
  my ($id, $c, $name) = @_;
  my $data;
  my $n = sysread $c->{$name}, $data, $c->{win}{$name} < $CHUNK ? $c->{win}{$name} : $CHUNK;
  return if !defined $n && ($!{EAGAIN} || $!{EINTR});
  if (!$n) { close $c->{$name}; $c->{$name} = undef; return }
  $c->{win}{$name} -= $n;
  $c->{heard} = now();
  frame($name eq "out" ? $OUT : $ERR, $id, $data);
}

sub reap {
  while ((my $pid = waitpid -1, POSIX::WNOHANG()) > 0) {
    my $status = $?;
    for (grep { $_->{pid} == $pid } values %commands) { ($_->{status}, $_->{heard}) = ($status, now()) }
  }
  for my $group (keys %doomed) {
    my $is_late = now() >= $doomed{$group};
    kill "KILL", -$group if $is_late;
    delete $doomed{$group} if $is_late || !kill 0, -$group;
  }
}

sub finish {
  for my $id (keys %commands) {
    my $c = $commands{$id};
    next unless defined $c->{status};
    # What the command itself has written is in the pipes; a full window keeps it there.
    my $is_open = grep { $c->{$_} && (!$c->{win}{$_} || now() < $c->{heard} + $LINGER) } qw(out err);
    next if $is_open;
    close_all($c);
    frame($EXIT, $id, pack("NN", $c->{status} >> 8, $c->{status} & 127));
    delete $commands{$id};
  }
}

sub receive {
  my $has_read = !defined $tag && length $in;
  for (1 .. 16) {
    my $data;
    my $n = sysread $port, $data, $CHUNK;
    if (!defined $n) { die "cannot read $path: $!\n" if !$!{EAGAIN} && !$!{EINTR}; last }
    # What a host says can be there before the word that there is one (the driver reads them from two queues).
    if (!$n) { return 0 if !$has_read || !is_host_coming(); last }
    $has_read = 1;
    $in .= $data;
  }
  parse();
  return 1;
}

sub is_host_coming {
  for (1 .. 25) {
    select undef, undef, undef, 0.01;
    my $data;
    my $n = sysread $port, $data, $CHUNK;
    $in .= $data if $n;
    return 1 if $n || !defined $n;
  }
  return 0;
}

sub send_out {
  while (length $out) {
    my $sent = syswrite $port, $out, $CHUNK;
    return unless $sent;
    substr $out, 0, $sent, "";
  }
}

# Sleeps until a host comes. The signals come through in the sleep alone, so that none is missed between the look and the sleep.
sub await_host {
  drop();
  reap();
  my ($all, $ours, $before) = (POSIX::SigSet->new, POSIX::SigSet->new($SIGIO, POSIX::SIGCHLD(), POSIX::SIGALRM()), POSIX::SigSet->new);
  POSIX::sigprocmask(POSIX::SIG_BLOCK(), $ours, $before);
  fcntl($port, F_SETFL, O_RDWR | O_NONBLOCK | $O_ASYNC);
  my $data;
  my $n = sysread $port, $data, $CHUNK;
  if ($n) { $in .= $data }
  # Should a signal be lost all the same, the next look is not far.
  elsif (defined $n) { alarm 2; POSIX::sigsuspend($all); alarm 0 }
  fcntl($port, F_SETFL, O_RDWR | O_NONBLOCK);
  POSIX::sigprocmask(POSIX::SIG_SETMASK(), $before);
}

while (1) {
  if (!receive()) { await_host(); next }
  reap();
  send_out();
  my ($r, $w) = ("", "");
  vec($r, fileno $port, 1) = 1;
  vec($w, fileno $port, 1) = 1 if length $out;
  my $wait = 5;
  for my $c (values %commands) {
    vec($w, fileno $c->{in}, 1) = 1 if $c->{in} && (length $c->{buf} || $c->{eof});
    for (qw(out err)) { vec($r, fileno $c->{$_}, 1) = 1 if $c->{$_} && $c->{win}{$_} && length $out < $MAX_OUT }
    # A SIGCHLD that comes just before the wait does not end it.
    my $most = defined $c->{status} ? 0.1 : $c->{out} || $c->{err} ? 1 : 0.01;
    $wait = $most if $most < $wait;
  }
  $wait = 0.1 if %doomed;
  if (select($r, $w, undef, $wait) > 0) {
    for my $id (keys %commands) {
      my $c = $commands{$id};
      feed($id, $c) if $c->{in} && vec($w, fileno $c->{in}, 1);
      for (qw(out err)) { collect($id, $c, $_) if $c->{$_} && vec($r, fileno $c->{$_}, 1) }
    }
  }
  reap();
  finish();
  send_out();
}
`;
