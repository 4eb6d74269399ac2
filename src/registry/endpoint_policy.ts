import ipaddr from "ipaddr.js";
import { RegistryError } from "./registry_error.ts";

/** Where instances may be. */
export interface EndpointOptions {
  /**
   * The hosts: a name as `orders.example.org`, all names below one as `.example.org`, `localhost`, an address, or a range of
   * them as `10.0.0.0/8`. Addresses and names of this machine are refused unless they are listed.
   *
   * @default {all names below that of the instance's own trust domain}
   */
  readonly hosts?: readonly string[];
  /** The ports: a number, or the first and the last of a range. @default {[443, [1_024, 65_535]]} */
  readonly ports?: readonly (number | readonly [number, number])[];
}

/**
 * Checks the URL of an endpoint of an instance of a trust domain; throws a {@linkcode RegistryError} `wrong_endpoint` to
 * refuse it.
 */
export type EndpointPolicy = (endpoint: string, trustDomain?: string) => void;

/**
 * Decides where a client lets itself be sent: a record is signed by who wants to be called, and must not make its readers
 * knock on doors inside their own network.
 *
 * The URL is `https:` or `wss:`, without credentials, query and fragment, in the spelling that the URL Standard gives it. A
 * name that leads to a private address cannot be seen from here: certificates, and answers that prove their identity, stop
 * what is behind it, and Deno's `--deny-net=10.0.0.0/8,…` the connection itself.
 *
 * @param trustDomains Whose names are allowed where no hosts are given.
 * @param options What differs from the defaults.
 * @returns The policy.
 * @throws {TypeError} A host or a port cannot be one.
 */
export function endpointPolicy(trustDomains: readonly string[], options: EndpointOptions = {}): EndpointPolicy {
  const { hosts, ports = [443, [1_024, 65_535]] } = options;
  const rules = (hosts ?? []).map(hostRule);
  const ownRules = new Map(hosts ? [] : trustDomains.map((domain) => [domain, hostRule(`.${domain}`)]));
  const ranges = ports.map(portRange);
  if ((hosts ?? trustDomains).length === 0 || ranges.length === 0) {
    throw new TypeError("Cannot allow endpoints: there must be a host and a port");
  }
  return (endpoint, trustDomain = trustDomains[0]!) => {
    const allowed = hosts ? rules : [ownRules.get(trustDomain) ?? (() => false)];
    if (!URL.canParse(endpoint)) throw refused("it is not an absolute URL");
    const url = new URL(endpoint);
    const { protocol, username, password, search, hash, hostname } = url;
    if (protocol !== "https:" && protocol !== "wss:") throw refused(`it is neither "https:" nor "wss:"`);
    if (username || password || search || hash || /[?#]/.test(endpoint)) {
      throw refused("it has credentials, a query or a fragment");
    }
    // What is written otherwise is read otherwise by somebody: 0x7f.1, full-width digits, dot segments.
    if (url.href !== endpoint && !isBare(url, endpoint)) {
      throw refused("it is not in the spelling of the URL Standard");
    }
    const port = Number(url.port || 443);
    if (!ranges.some(([first, last]) => port >= first && port <= last)) throw refused("its port is not allowed");
    const host = hostname.replace(/\.$/, "");
    if (host.startsWith(".") || host.includes("..") || !allowed.some((allows) => allows(host))) {
      throw refused("its host is not allowed");
    }
  };
}

/** The one slash that a URL without a path may go without. */
const isBare = (url: URL, endpoint: string) => url.pathname === "/" && url.href === `${endpoint}/`;

const refused = (why: string) => new RegistryError("wrong_endpoint", `Cannot call the endpoint: ${why}`);

function hostRule(host: string): (candidate: string) => boolean {
  const problem = new TypeError(`Cannot allow the host "${host}": it must be a name, ".name", an address or a range`);
  if (typeof host !== "string" || host === "") throw problem;
  if (host.includes("/") || ipaddr.isValid(host)) {
    if (host.includes("/") ? !isCanonicalRange(host) : !isCanonicalAddress(host)) throw problem;
    const range = host.includes("/") ? ipaddr.parseCIDR(host) : undefined;
    const only = range ? undefined : ipaddr.process(host).toNormalizedString();
    return (candidate) => {
      const address = addressOf(candidate);
      if (!address) return false;
      if (!range) return address.toNormalizedString() === only;
      return address.kind() === range[0].kind() && address.match(range as never);
    };
  }
  const name = host.replace(/^\./, "");
  if (!NAME.test(name) || /^[\d.]+$/.test(name)) throw problem;
  if (name === host) return (candidate) => candidate === name;
  return (candidate) =>
    candidate.endsWith(host) && !addressOf(candidate) && (!isThisMachine(candidate) || host === ".localhost");
}

function portRange(port: number | readonly [number, number]): readonly [number, number] {
  const [first, last] = typeof port === "number" ? [port, port] : port;
  if (Number.isInteger(first) && Number.isInteger(last) && first >= 1 && first <= last && last <= 65_535) {
    return [first, last];
  }
  throw new TypeError(`Cannot allow the port "${port}": it must be from 1 to 65535, or two of them in order`);
}

const NAME = /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*$/;

/** `10/8` is 0.0.0.10/8 to who reads it as C does, and `010.0.0.0/8` begins with 8. */
const isCanonicalRange = (host: string) => ipaddr.isValidCIDR(host) && isCanonicalAddress(host.split("/")[0]!);

const isCanonicalAddress = (host: string) =>
  (ipaddr.IPv6.isValid(host) && !host.includes("%")) || ipaddr.IPv4.isValidFourPartDecimal(host);

/** The address that a URL's host is; an IPv4 one that is wrapped into IPv6 is what it wraps. */
function addressOf(host: string) {
  if (!/^(?:\[.*\]|[\d.]+)$/.test(host)) return undefined; // as the URL Standard spells an address; asking costs more
  const bare = host.startsWith("[") ? host.slice(1, -1) : host;
  return ipaddr.isValid(bare) ? ipaddr.process(bare) : undefined;
}

/** Names that lead to this machine, whoever is asked. */
const isThisMachine = (host: string) => host === "localhost" || host.endsWith(".localhost");
