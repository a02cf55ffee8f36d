import {BlockList, isIP} from 'node:net';

/**
 * Whether `NO_PROXY` leaves the proxy out for a host, as Go reads it (golang.org/x/net/http/httpproxy, `Config.NoProxy`) and so docker: `*`, an address,
 * a block of addresses (`10.0.0.0/8`), a domain with all under it (`example.com`), only those under it (`.example.com`, `*.example.com`), each with an
 * optional port. Blanks separate as well as commas, as curl has it.
 */
export function bypassesProxy(url: URL, noProxy: string): boolean {
  const host = bare(url.hostname);
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return noProxy
    .toLowerCase()
    .split(/[\s,]+/)
    .some(item => item !== '' && matches(item, host, port));
}

function matches(item: string, host: string, port: string): boolean {
  if (item === '*') return true;
  if (item.includes('/')) return inBlock(item, host);
  const [, name = '', itemPort] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(item) ?? [undefined, item];
  if (itemPort !== undefined && itemPort !== port) return false;
  const wanted = bare(name).replace(/^\*(?=\.)/, '');
  if (isIP(wanted) > 0 || isIP(host) > 0) return wanted === host;
  return wanted.startsWith('.') ? host.endsWith(wanted) : host === wanted || host.endsWith(`.${wanted}`);
}

function inBlock(block: string, host: string): boolean {
  const version = isIP(host);
  const [address = '', bits = ''] = block.split('/');
  if (version === 0 || isIP(address) !== version || !/^\d{1,3}$/.test(bits)) return false;
  if (Number(bits) > (version === 4 ? 32 : 128)) return false;
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(address, Number(bits), family);
  return list.check(host, family);
}

/** Without an IPv6 address's brackets and a name's last dot. */
function bare(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '');
}
