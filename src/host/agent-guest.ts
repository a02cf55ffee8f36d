/**
 * The command agent that runs in the machine: `perl AGENT PORT`. One process, one loop, no modules but those of perl-base, which every Debian has
 * (`Essential: yes`). The protocol is in agent-frames.ts.
 *
 * A virtio-serial port without a host reads as end-of-file at once (drivers/char/virtio_console.c, `port_fops_read`), so the agent sleeps then; the driver sends SIGIO
 * when a host comes. What a host does not live to read is dropped, and its commands are ended with it.
 */
export const AGENT_PROGRAM = String.raw`
use strict; use warnings; no warnings 'portable';
use Fcntl; use POSIX (); use Errno;
my ($path) = @ARGV;
my ($MAGIC, $MAX_FRAME, $CHUNK, $WINDOW, $MAX_OUT) = ("BKAGENT1", 4 << 20, 32768, 262144, 524288);
my ($HELLO, $EXEC, $STDIN, $EOF, $SIGNAL, $GRANT, $WAKE, $PING) = (0 .. 7);
my ($ACK, $EXIT, $OUT, $ERR, $CREDIT, $WOKEN, $PONG) = (128 .. 134);
my ($in, $out, $greeted, %chans, %of_pid) = ("", "", 0);
$SIG{PIPE} = "IGNORE"; $SIG{CHLD} = sub {}; $SIG{IO} = sub {};

sub open_port {
  my $fh;
  # An inherited descriptor: for tests without a machine.
  if ($path =~ /^fd:(\d+)\z/) { open($fh, "+<&=", $1) or die "cannot open $path: $!\n" }
  else { sysopen($fh, $path, O_RDWR | O_NONBLOCK | O_NOCTTY) or die "cannot open $path: $!\n" }
  fcntl($fh, F_SETFD, FD_CLOEXEC);
  # F_SETOWN is 8 on Linux; perl-base's Fcntl may lack the name.
  eval { fcntl($fh, 8, $$); fcntl($fh, F_SETFL, O_RDWR | O_NONBLOCK | 020000) };
  return $fh;
}
my $port = open_port();

sub frame { my ($type, $chan, $data) = @_; $out .= pack("NCN", 5 + length $data, $type, $chan) . $data; }

sub drop {
  kill "KILL", -$_->{pid} for grep { !$_->{status_known} } values %chans;
  for my $c (values %chans) { close $_ for grep { $_ } @$c{qw(in out err)} }
  %chans = (); ($in, $out, $greeted) = ("", "", 0);
}

sub start {
  my ($id, $data) = @_;
  my ($count, @rest) = split /\0/, $data, -1;
  my @argv = splice @rest, 0, $count;
  pipe(my $r0, my $w0) && pipe(my $r1, my $w1) && pipe(my $r2, my $w2) or return frame($EXIT, $id, pack("NN", 126, 0));
  my $pid = fork;
  if (!defined $pid) { return frame($EXIT, $id, pack("NN", 126, 0)) }
  if (!$pid) {
    setpgrp(0, 0);
    $SIG{$_} = "DEFAULT" for qw(PIPE CHLD IO);
    for (@rest) { my ($k, $v) = split /=/, $_, 2; $ENV{$k} = $v if length $k }
    POSIX::dup2(fileno $r0, 0); POSIX::dup2(fileno $w1, 1); POSIX::dup2(fileno $w2, 2);
    { no warnings; exec { $argv[0] } @argv; }
    my $e = $! + 0;
    syswrite STDERR, "$argv[0]: $!\n";
    POSIX::_exit($e == Errno::ENOENT() ? 127 : 126);
  }
  setpgrp($pid, $pid);
  close $_ for $r0, $w1, $w2;
  for ($w0, $r1, $r2) { fcntl($_, F_SETFL, fcntl($_, F_GETFL, 0) | O_NONBLOCK) }
  $chans{$id} = {pid => $pid, in => $w0, out => $r1, err => $r2, buf => "", eof => 0, win => {out => $WINDOW, err => $WINDOW}};
  $of_pid{$pid} = $id;
}

sub wake {
  my ($sec, $nsec, $entropy) = unpack "NNa*", shift;
  my $done = "date";
  if ((POSIX::uname())[4] eq "x86_64") {
    my $time = pack "qq", $sec, $nsec;
    # clock_settime(CLOCK_REALTIME) is 227 in arch/x86/entry/syscalls/syscall_64.tbl.
    $done = "ok" if syscall(227, 0, $time) == 0;
  }
  $done = system("date", "-s", "\@$sec") == 0 ? "ok" : "the clock could not be set" if $done eq "date";
  if (sysopen(my $r, "/dev/urandom", O_RDWR)) {
    # RNDADDENTROPY, then RNDRESEEDCRNG (random(4)); without the ioctls the bytes are mixed in at least.
    my $info = pack "ll", 8 * length $entropy, length $entropy;
    ioctl($r, 0x40085203, $info . $entropy) or syswrite $r, $entropy;
    ioctl($r, 0x5207, 0);
    close $r;
  }
  return $done;
}

sub handle {
  my ($type, $id, $data) = @_;
  my $c = $chans{$id};
  if ($type == $EXEC) { start($id, $data) }
  elsif ($type == $PING) { frame($PONG, $id, $data) }
  elsif ($type == $WAKE) { frame($WOKEN, $id, wake($data)) }
  elsif (!$c) { }
  elsif ($type == $STDIN) { $c->{buf} .= $data }
  elsif ($type == $EOF) { $c->{eof} = 1 }
  elsif ($type == $SIGNAL) { kill $data, -$c->{pid} if $data =~ /^[A-Z]+\z/ && !$c->{status_known} }
  elsif ($type == $GRANT) { my ($s, $n) = unpack "CN", $data; $c->{win}{$s == 1 ? "out" : "err"} += $n }
}

sub parse {
  while (1) {
    if (!$greeted) {
      my $at = index $in, $MAGIC;
      if ($at < 0) { $in = substr $in, -7 if length $in > 7; return }
      return if length $in < $at + 24;
      my $nonce = substr $in, $at + 8, 16;
      $in = substr $in, $at + 24;
      $out .= $MAGIC . $nonce; $greeted = 1;
    }
    return if length $in < 9;
    my ($length, $type, $id) = unpack "NCN", $in;
    # Not a frame: a new host has come in the middle of an old one's, or there is no sense in it.
    if ($length < 5 || $length > $MAX_FRAME) { my $rest = $in; drop(); $in = $rest; next }
    return if length $in < 4 + $length;
    my $data = substr $in, 9, $length - 5;
    $in = substr $in, 4 + $length;
    handle($type, $id, $data);
  }
}

sub feed {
  my ($id, $c) = @_;
  if (length $c->{buf}) {
    my $n = syswrite $c->{in}, $c->{buf};
    if (defined $n) { $c->{buf} = substr $c->{buf}, $n; frame($CREDIT, $id, pack "N", $n) }
    elsif (!$!{EAGAIN} && !$!{EINTR}) { close $c->{in}; $c->{in} = undef; frame($CREDIT, $id, pack "N", $WINDOW) }
  }
  if ($c->{in} && $c->{eof} && !length $c->{buf}) { close $c->{in}; $c->{in} = undef }
}

sub collect {
  my ($id, $c, $name) = @_;
  my $most = $c->{win}{$name} < $CHUNK ? $c->{win}{$name} : $CHUNK;
  my $data;
  my $n = sysread $c->{$name}, $data, $most;
  if (!defined $n) { return if $!{EAGAIN} || $!{EINTR}; $n = 0 }
  if (!$n) { close $c->{$name}; $c->{$name} = undef; return }
  $c->{win}{$name} -= $n;
  frame($name eq "out" ? $OUT : $ERR, $id, $data);
}

sub reap {
  while ((my $pid = waitpid -1, POSIX::WNOHANG()) > 0) {
    my $status = $?;
    my $id = delete $of_pid{$pid};
    next unless defined $id && $chans{$id} && $chans{$id}{pid} == $pid;
    @{$chans{$id}}{qw(status status_known)} = ($status, 1);
  }
}

sub finish {
  my ($idle) = @_;
  for my $id (keys %chans) {
    my $c = $chans{$id};
    next unless $c->{status_known};
    # A grandchild may hold the pipes for ever; what the command itself has written is there already.
    next if ($c->{out} || $c->{err}) && !($idle && ++$c->{idle} > 3 && $c->{win}{out} && $c->{win}{err});
    close $_ for grep { $_ } @$c{qw(in out err)};
    frame($EXIT, $id, pack("NN", $c->{status} >> 8, $c->{status} & 127));
    delete $chans{$id};
  }
}

while (1) {
  my $data;
  my $n = sysread $port, $data, $CHUNK;
  if (defined $n && $n == 0) {
    drop() if $greeted || length $in || length $out || %chans;
    reap();
    select undef, undef, undef, 0.25;
    next;
  }
  if (defined $n) { $in .= $data; parse() }
  elsif (!$!{EAGAIN} && !$!{EINTR}) { die "cannot read $path: $!\n" }
  reap();
  my ($r, $w) = ("", "");
  vec($r, fileno $port, 1) = 1;
  vec($w, fileno $port, 1) = 1 if length $out;
  for my $c (values %chans) {
    vec($w, fileno $c->{in}, 1) = 1 if $c->{in} && (length $c->{buf} || $c->{eof});
    for my $name (qw(out err)) { vec($r, fileno $c->{$name}, 1) = 1 if $c->{$name} && $c->{win}{$name} > 0 && length $out < $MAX_OUT }
  }
  my $ending = grep { $_->{status_known} || (!$_->{out} && !$_->{err}) } values %chans;
  my $ready = select $r, $w, undef, $ending ? 0.01 : %chans ? 0.2 : 5;
  if ($ready > 0) {
    for my $id (keys %chans) {
      my $c = $chans{$id};
      feed($id, $c) if $c->{in} && vec($w, fileno $c->{in}, 1);
      for my $name (qw(out err)) { if ($c->{$name} && vec($r, fileno $c->{$name}, 1)) { $c->{idle} = 0; collect($id, $c, $name) } }
    }
  }
  reap();
  finish($ready == 0);
  while (length $out) {
    my $sent = syswrite $port, $out, length $out > $CHUNK ? $CHUNK : length $out;
    if (defined $sent && $sent > 0) { $out = substr $out, $sent; next }
    last;
  }
}
`;
