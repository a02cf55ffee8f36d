const __importMetaUrl=require('node:url').pathToFileURL(__filename).href;
"use strict";var v=Object.defineProperty;var s=(n,t)=>v(n,"name",{value:t,configurable:!0});var g=require("node:stream/consumers");var S=require("node:net");var p=require("node:crypto"),w=require("node:net");var f=require("node:crypto");var x=1e4;async function m(n,t){let o=await h(n,t.length),e=Buffer.from(t);return o?.length===e.length&&(0,f.timingSafeEqual)(o,e)?!0:(n.destroy(),!1)}s(m,"identify");function h(n,t){return new Promise(o=>{let e=Buffer.alloc(0),r=s(l=>{clearTimeout(a),n.off("data",c),n.off("close",i),l?n.pause():n.destroy(),o(l)},"finish"),i=s(()=>r(void 0),"onClose"),c=s(l=>{e=Buffer.concat([e,l]);let u=e.indexOf(`
`);if(u<0||u>t){e.length>t&&r(void 0);return}let y=e.subarray(u+1);r(e.subarray(0,u)),y.length>0&&!n.destroyed&&n.unshift(y)},"onData"),a=setTimeout(()=>r(void 0),x);n.on("error",()=>r(void 0)),n.on("close",i),n.on("data",c),n.resume()})}s(h,"firstLine");var b=121,N=`
IFS= read -r token
direction=$1 port=$2
shift 2
{ exec 3<>"/dev/tcp/10.0.2.2/$port" && printf '%s\\n' "$token" >&3; } 2>/dev/null || exit ${b}
if [ "$direction" = stdin ]; then exec "$@" <&3 3>&-; else exec "$@" >&3 3>&-; fi
`;var E=String.raw`
use strict; use warnings; use Socket; use Errno;
my ($port, $path, $address) = (@ARGV, "10.0.2.2");
my $token = <STDIN>;
$SIG{PIPE} = "IGNORE";
$SIG{CHLD} = "IGNORE";
sub host {
  my ($what) = @_;
  socket(my $s, PF_INET, SOCK_STREAM, 0) or return;
  connect($s, pack_sockaddr_in($port, inet_aton($address))) or return;
  setsockopt($s, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1);
  syswrite($s, "$token$what\n") or return;
  return $s;
}
sub copy {
  my ($from, $to) = @_;
  my $data;
  while (1) {
    my $n = sysread $from, $data, 262144;
    next if !defined $n && $!{EINTR};
    last unless $n;
    for (my $done = 0; $done < $n;) {
      my $sent = syswrite $to, $data, $n - $done, $done;
      next if !defined $sent && $!{EINTR};
      return unless defined $sent;
      $done += $sent;
    }
  }
  shutdown $to, 1;
}
my $control = host("control") or exit 121;
while (defined(my $id = <$control>)) {
  chomp $id;
  next if fork;
  close $control;
  my $there = host($id) or exit 1;
  my $here;
  socket($here, PF_UNIX, SOCK_STREAM, 0) && connect($here, pack_sockaddr_un($path)) or exit 1;
  my $other = fork;
  exit 1 unless defined $other;
  if ($other) { copy($there, $here) } else { copy($here, $there) }
  exit 0;
}
`,k=3e4,O=16,d=class n{static{s(this,"RelayHub")}token;port;#r;#t=new Map;#o=new AbortController;#n;#s=s(()=>{},"#onControl");#e;#i=1;constructor(t,o,e){this.#r=t,this.port=o,this.token=e,this.#n=new Promise(r=>{this.#s=r}),t.on("connection",r=>{this.#a(r)})}static async open(t=(0,p.randomBytes)(24).toString("hex")){let o=(0,w.createServer)({allowHalfOpen:!0,noDelay:!0});await new Promise((r,i)=>{o.once("error",i),o.listen(0,"127.0.0.1",r)});let e=o.address();return new n(o,typeof e=="object"&&e?e.port:0,t)}get connected(){return this.#n}get lost(){return this.#o.signal}dial(){return new Promise((t,o)=>{if(!this.#e||this.lost.aborted)return o(new Error("the relay in the VM is gone"));let e=String(this.#i++),r=s(a=>{clearTimeout(c),this.#t.delete(e),a()},"settle"),i={resolve:s(a=>r(()=>t(a)),"resolve"),reject:s(a=>r(()=>o(a)),"reject")},c=setTimeout(()=>i.reject(new Error("the relay in the VM does not answer")),k);this.#t.set(e,i),this.#e.write(`${e}
`)})}close(){this.#r.close(),this.#e?.destroy()}async#a(t){if(!await m(t,this.token))return;let o=(await h(t,O))?.toString("latin1")??"",e=this.#t.get(o);e?e.resolve(t):o==="control"&&!this.#e?(this.#e=t,t.once("close",()=>{let r=new Error("the relay in the VM has ended");this.#o.abort(r);for(let i of[...this.#t.values()])i.reject(r)}),t.once("end",()=>t.destroy()),t.resume(),this.#s()):t.destroy()}};async function $(n,t){let o=new Set,e=(0,S.createServer)({allowHalfOpen:!0,pauseOnConnect:!0},r=>{o.add(r),r.once("close",()=>o.delete(r)),r.on("error",()=>{}),t().then(i=>_(r,i),()=>r.destroy())});return await new Promise((r,i)=>{e.once("error",i),e.listen(n,r)}),{close:s(()=>new Promise(r=>{e.close(()=>r());for(let i of o)i.destroy()}),"close")}}s($,"listen");function _(n,t){if(n.destroyed)return void t.destroy();for(let[o,e]of[[n,t],[t,n]])o.on("error",()=>e.destroy()),o.once("close",()=>{o.readableEnded||e.destroy()}),o.pipe(e)}s(_,"join");async function T(){let{socketPath:n,token:t}=JSON.parse(await(0,g.text)(process.stdin)),o=s(i=>process.stdout.write(`${JSON.stringify(i)}
`),"say");process.stdout.on("error",()=>{});let e=await d.open(t);o({port:e.port}),await e.connected;let r=await $(n,()=>e.dial());o({ready:!0}),await new Promise(i=>e.lost.addEventListener("abort",i,{once:!0})),await r.close(),e.close()}s(T,"main");T();
