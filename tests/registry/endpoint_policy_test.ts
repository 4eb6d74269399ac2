import { type EndpointOptions, endpointPolicy, RegistryError } from "../../src/registry/mod.ts";
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { DOMAIN } from "./_rig.ts";

/** Whether a policy lets an endpoint pass; anything but a `wrong_endpoint` fails the test. */
function allows(endpoint: string, options?: EndpointOptions): boolean {
  try {
    endpointPolicy([DOMAIN], options)(endpoint);
    return true;
  } catch (error) {
    assert.ok(error instanceof RegistryError, `${JSON.stringify(endpoint)}: ${error}`);
    assert.equal(error.reason, "wrong_endpoint");
    assert.match(error.message, /^Cannot call the endpoint: .*[^.]$/);
    if (endpoint?.length > 4) assert.ok(!error.message.includes(endpoint), "what a stranger wrote is not repeated");
    return false;
  }
}

const ALLOWED = [
  "https://orders.example.org",
  "https://orders.example.org/",
  "https://a.b.c.example.org",
  "https://orders.example.org:8443",
  "https://orders.example.org:1024/",
  "https://orders.example.org:65535/",
  "https://orders.example.org/rpc",
  "https://orders.example.org/rpc/",
  "https://xn--bcher-kva.example.org",
  "https://or_ders.example.org",
  "https://example.org.example.org",
  "wss://orders.example.org",
  "wss://orders.example.org:4443/socket",
];

/** Why each is refused: so that one refusal does not hide that another is missing. */
const REFUSED: Readonly<Record<string, readonly string[]>> = {
  "this machine, spelled in every way": [
    "https://127.0.0.1",
    "https://127.0.0.1:8443/",
    "https://127.1",
    "https://127.0.1",
    "https://0x7f.1",
    "https://0x7f000001",
    "https://0X7F.0.0.1",
    "https://0177.0.0.1",
    "https://0177.1",
    "https://2130706433",
    "https://017700000001",
    "https://127.0.0.1.",
    "https://127.255.255.254",
    "https://0",
    "https://0.0.0.0",
    "https://[::1]",
    "https://[::1]:8443/",
    "https://[0:0:0:0:0:0:0:1]",
    "https://[::]",
    "https://[::ffff:127.0.0.1]",
    "https://[::ffff:7f00:1]",
    "https://[::127.0.0.1]",
    "https://localhost",
    "https://localhost:8443",
    "https://LOCALHOST",
    "https://localhost.",
    "https://a.localhost",
    "https://a.localhost.",
    "https://localhost.localdomain",
    "https://ip6-localhost",
  ],
  "addresses that are somebody's own network": [
    "https://10.0.0.1",
    "https://172.16.0.1",
    "https://192.168.1.1",
    "https://100.64.0.1",
    "https://169.254.169.254",
    "https://[fd00:ec2::254]",
    "https://[fe80::1]",
    "https://[fc00::1]",
    "https://[64:ff9b::7f00:1]",
    "https://[64:ff9b::a9fe:a9fe]",
    "https://[64:ff9b:1::a9fe:a9fe]",
    "https://[2002:7f00:1::]",
    "https://[2001:0:7f00:1::]",
    "https://[::ffff:a9fe:a9fe]",
    "https://198.18.0.1",
    "https://224.0.0.1",
    "https://255.255.255.255",
  ],
  "addresses at all": ["https://93.184.215.14", "https://[2606:2800:21f::1]", "https://1.1.1.1"],
  "names of others": [
    "https://example.org",
    "https://evil.test",
    "https://evil-example.org",
    "https://evilexample.org",
    "https://example.org.evil.test",
    "https://orders.example.org.evil.test",
    "https://orders.example.com",
    "https://org",
    "https://a",
    "https://orders.example.org..",
    "https://metadata.google.internal",
    "https://169.254.169.254.nip.io",
    "https://localtest.me",
    "https://xn--exmple-cua.org",
  ],
  "names with an empty label": ["https://.example.org", "https://..example.org", "https://a..example.org"],
  "other schemes": [
    "http://orders.example.org",
    "ws://orders.example.org",
    "file:///etc/passwd",
    "file://orders.example.org/a",
    "ftp://orders.example.org",
    "gopher://orders.example.org",
    "javascript:alert(1)",
    "javascript://orders.example.org/%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "blob:https://orders.example.org/0",
    "about:blank",
    "chrome://settings",
    "unix:/run/docker.sock",
    "https+unix://%2frun%2fdocker.sock",
  ],
  "credentials": [
    "https://user@orders.example.org",
    "https://user:secret@orders.example.org",
    "https://:secret@orders.example.org",
    "https://@orders.example.org",
    "https://:@orders.example.org",
    "https://orders.example.org@evil.test",
    "https://orders.example.org%40evil.test",
    "https://orders.example.org:443@evil.test",
    "https://evil.test#@orders.example.org",
    "https://evil.test?@orders.example.org",
    "https://evil.test\\@orders.example.org",
    "https://evil.test/@orders.example.org",
  ],
  "a query or a fragment, also an empty one": [
    "https://orders.example.org?a=1",
    "https://orders.example.org/?a=1",
    "https://orders.example.org/#a",
    "https://orders.example.org#a",
    "https://orders.example.org?",
    "https://orders.example.org/?",
    "https://orders.example.org#",
    "https://orders.example.org/#",
    "https://orders.example.org/rpc?",
    "https://orders.example.org/rpc#",
  ],
  "what the URL Standard spells otherwise": [
    "HTTPS://orders.example.org",
    "https://ORDERS.example.org",
    "https://orders.EXAMPLE.org",
    "https:orders.example.org",
    "https:/orders.example.org",
    "https:///orders.example.org",
    "https:\\\\orders.example.org",
    "https://orders.example.org\\",
    "https://orders.example.org\\a",
    " https://orders.example.org",
    "https://orders.example.org ",
    "https://orders.example.org\n",
    "\u0000https://orders.example.org",
    "https://orders.example.org\t/",
    "ht\ttps://orders.example.org",
    "https://or\nders.example.org",
    "https://orders%2eexample.org",
    "https://%6frders.example.org",
    "https://orders.example.org%2f",
    "https://orders。example。org",
    "https://orders．example．org",
    "https://ｏrders.example.org",
    "https://①②⑦.example.org",
    "https://bücher.example.org",
    "https://or\u00adders.example.org",
    "https://orders.example.org:443",
    "https://orders.example.org:443/",
    "wss://orders.example.org:443/",
    "https://orders.example.org:08443",
    "https://orders.example.org:",
    "https://orders.example.org/a/../b",
    "https://orders.example.org/./",
    "https://orders.example.org/%2e%2e/",
    "https://orders.example.org/a b",
    "https://orders.example.org/<script>",
    "https://orders.example.org/ä",
    "https://１２７.0.0.1",
  ],
  "ports that are for others": [
    "https://orders.example.org:22",
    "https://orders.example.org:25",
    "https://orders.example.org:80",
    "https://orders.example.org:1",
    "https://orders.example.org:442",
    "https://orders.example.org:444",
    "https://orders.example.org:1023",
    "https://orders.example.org:0",
    "https://orders.example.org:65536",
    "https://orders.example.org:-1",
    "https://orders.example.org:99999999999",
  ],
  "what is no absolute URL": [
    "",
    " ",
    "orders.example.org",
    "//orders.example.org",
    "/rpc",
    "https:",
    "https://",
    "https://[",
    "https://[::1",
    "https://[fe80::1%25eth0]",
    "https://orders example.org",
    "https://orders.example.org:port",
    "https://%",
    "https://1.2.3.4.5",
    "https://256.256.256.256",
    "https://0x100000000",
    "https://\u0000",
    "https://xn--a",
    "\ud800",
  ],
};

describe("endpointPolicy()", () => {
  for (const endpoint of ALLOWED) {
    test(`endpointPolicy() allows ${endpoint}`, () => assert.equal(allows(endpoint), true));
  }

  for (const [kind, endpoints] of Object.entries(REFUSED)) {
    test(`endpointPolicy() refuses ${kind}`, () => {
      for (const endpoint of endpoints) {
        assert.equal(allows(endpoint), false, JSON.stringify(endpoint));
      }
    });
  }

  test("endpointPolicy() refuses what is no text", () => {
    for (const value of [undefined, null, 1, {}, []]) assert.equal(allows(value as never), false);
  });

  test("endpointPolicy() refuses another scheme and another spelling whatever hosts and ports are allowed", () => {
    const open = {
      hosts: ["localhost", "0.0.0.0/0", "::/0", ".example.org", "example.org"],
      ports: [[1, 65_535]],
    } as const;
    for (const kind of ["other schemes", "credentials", "what the URL Standard spells otherwise"]) {
      for (const endpoint of REFUSED[kind]!) assert.equal(allows(endpoint, open), false, JSON.stringify(endpoint));
    }
    for (const endpoint of ["http://localhost:8080", "http://127.0.0.1/", "ws://127.0.0.1/", "https://0x7f.1"]) {
      assert.equal(allows(endpoint, open), false, endpoint);
    }
  });
});

describe("endpointPolicy() with hosts", () => {
  const cases: readonly { hosts: readonly string[]; yes: readonly string[]; no: readonly string[] }[] = [
    {
      hosts: ["orders.example.org"],
      yes: ["orders.example.org", "orders.example.org."],
      no: ["a.orders.example.org", "example.org", "xorders.example.org", "orders.example.org.evil.test"],
    },
    {
      hosts: [".example.org", "example.org"],
      yes: ["example.org", "a.example.org", "a.b.example.org", "a.example.org."],
      no: ["evilexample.org", "org", "127.0.0.1", "localhost"],
    },
    {
      hosts: ["localhost"],
      yes: ["localhost", "localhost."],
      no: ["a.localhost", "127.0.0.1", "[::1]", "localhost.a"],
    },
    {
      hosts: [".localhost"],
      yes: ["a.localhost", "a.b.localhost", "a.localhost."],
      no: ["localhost", "localhost.", "127.0.0.1", "[::1]", "xlocalhost", "a.localhost.evil.test", "a.example.org"],
    },
    { hosts: [".example.org"], yes: ["a.example.org"], no: ["a.localhost", "localhost", "localhost.example.orgx"] },
    { hosts: ["a.localhost"], yes: ["a.localhost"], no: ["localhost", "b.localhost", "a.a.localhost"] },
    {
      hosts: ["127.0.0.1"],
      yes: ["127.0.0.1", "[::ffff:7f00:1]"],
      no: ["127.0.0.2", "localhost", "[::1]", "[::7f00:1]", "[64:ff9b::7f00:1]"],
    },
    { hosts: ["::1"], yes: ["[::1]"], no: ["127.0.0.1", "[::2]", "[::]", "[::ffff:7f00:1]", "localhost"] },
    { hosts: ["0:0:0:0:0:0:0:1"], yes: ["[::1]"], no: ["[::2]"] },
    {
      hosts: ["::ffff:10.0.0.1"],
      yes: ["10.0.0.1", "[::ffff:a00:1]"],
      no: ["10.0.0.2", "[::a00:1]"],
    },
    {
      hosts: ["10.0.0.0/8"],
      yes: ["10.0.0.0", "10.255.255.255", "[::ffff:a00:1]"],
      no: ["11.0.0.0", "9.255.255.255", "[::a00:1]", "[a00::]", "10.example.org", "a.example.org"],
    },
    { hosts: ["192.168.7.0/24"], yes: ["192.168.7.1"], no: ["192.168.8.1", "192.168.6.255"] },
    { hosts: ["192.168.7.1/32"], yes: ["192.168.7.1"], no: ["192.168.7.2", "192.168.7.0"] },
    {
      hosts: ["0.0.0.0/0"],
      yes: ["1.1.1.1", "127.0.0.1"],
      no: ["[::1]", "[2606:2800:21f::1]", "localhost", "a.example.org"],
    },
    { hosts: ["fd00::/8"], yes: ["[fd12:3456::1]"], no: ["[fc00::1]", "[fe80::1]", "10.0.0.1", "[::1]"] },
    { hosts: ["::/0"], yes: ["[::1]", "[2606:2800:21f::1]"], no: ["127.0.0.1", "[::ffff:7f00:1]", "localhost"] },
    { hosts: ["2001:db8::/32", "a.test"], yes: ["[2001:db8::1]", "a.test"], no: ["[2001:db9::1]", "a.example.org"] },
    { hosts: ["64:ff9b::/96"], yes: ["[64:ff9b::a00:1]"], no: ["10.0.0.1", "[64:ff9b:1::a00:1]"] },
    { hosts: [".org"], yes: ["example.org"], no: ["org", "127.0.0.1", "a.test"] },
  ];
  for (const { hosts, yes, no } of cases) {
    test(`endpointPolicy() with ${hosts.join(" and ")} allows exactly that`, () => {
      for (const host of yes) assert.equal(allows(`https://${host}/`, { hosts }), true, host);
      for (const host of no) assert.equal(allows(`https://${host}/`, { hosts }), false, host);
    });
  }

  test("endpointPolicy() allows names below the instance's own trust domain where no hosts are given, of no other", () => {
    const check = endpointPolicy(["example.org", "partner.test"]);
    check("https://a.example.org");
    check("https://a.partner.test", "partner.test");
    const others = [
      ["https://a.partner.test", "example.org"],
      ["https://a.partner.test", undefined],
      ["https://a.example.org", "partner.test"],
      ["https://a.evil.test", "example.org"],
      ["https://a.example.org", "evil.test"],
    ] as const;
    for (const [endpoint, domain] of others) {
      assert.throws(() => check(endpoint, domain), { reason: "wrong_endpoint" }, `${endpoint} of ${domain}`);
    }
  });

  test("endpointPolicy() allows the hosts that are given to every trust domain", () => {
    const check = endpointPolicy(["example.org", "partner.test"], { hosts: ["a.example.org"] });
    for (const domain of ["example.org", "partner.test", undefined]) check("https://a.example.org", domain);
    assert.throws(() => check("https://a.partner.test", "partner.test"), { reason: "wrong_endpoint" });
  });

  test("endpointPolicy() does not take a suffix for a name of this machine", () => {
    // whoever allows a suffix means names, and none that resolves to this machine by definition
    assert.equal(allows("https://a.b.localhost/", { hosts: [".b.localhost"] }), false);
  });

  for (
    const host of [
      ...["", ".", "..", "*", "*.example.org", "example.org.", ".example.org.", "..example.org", "a..b", "-a.test"],
      ...[
        "EXAMPLE.org",
        "https://example.org",
        "example.org:443",
        "example.org/",
        "[::1]",
        "a b",
        "a\n",
        "bücher.test",
      ],
      ...["127.1", "0x7f.1", "0177.0.0.1", "2130706433", "1", "10", "1.2.3", "256.1.1.1", "1.2.3.4.5", "10.0.0.0/33"],
      ...["10.0.0.0/-1", "10.0.0.0/", "/8", "10.0.0.0/8/8", "10/8", "10.0/8", "0x0a.0.0.0/8", "fd00::/129", "::/x"],
      ...["010.0.0.0/8", "127.0.0.1/", "example.org/8", "a".repeat(254), ":::", "fe80::1%eth0"],
    ]
  ) {
    test(`endpointPolicy() cannot be made with the host ${JSON.stringify(host.slice(0, 40))}`, () => {
      assert.throws(() => endpointPolicy([DOMAIN], { hosts: [host] }), { name: "TypeError" });
    });
  }

  test("endpointPolicy() cannot be made with hosts that are no texts, or with none", () => {
    for (const host of [undefined, null, 1, {}, ["a.test"], /a/]) {
      assert.throws(() => endpointPolicy([DOMAIN], { hosts: [host as never] }), /Cannot allow the host/);
    }
    assert.throws(() => endpointPolicy([DOMAIN], { hosts: [] }), TypeError);
    assert.throws(() => endpointPolicy([], {}), TypeError);
  });
});

describe("endpointPolicy() with ports", () => {
  const at = (port: number) => `https://a.example.org${port === 443 ? "" : `:${port}`}/`;

  test("endpointPolicy() allows the ports and the ranges that are listed, and both ends of a range", () => {
    const ports = [443, 22, [8_000, 8_010]] as const;
    for (const port of [443, 22, 8_000, 8_005, 8_010]) assert.equal(allows(at(port), { ports }), true, `${port}`);
    for (const port of [80, 7_999, 8_011, 21, 23, 1]) assert.equal(allows(at(port), { ports }), false, `${port}`);
  });

  test("endpointPolicy() does not allow 443 beside the ports that are listed", () => {
    for (const endpoint of ["https://a.example.org", "wss://a.example.org"]) {
      assert.equal(allows(endpoint, { ports: [8443] }), false);
    }
  });

  test("endpointPolicy() cannot be made with ports that are none", () => {
    const wrong = [0, -1, 65_536, 1.5, NaN, Infinity, "443", null, undefined, [2, 1], [0, 1], [1, 65_536], [1], [], [
      "1",
      2,
    ]];
    for (const port of wrong) {
      assert.throws(() => endpointPolicy([DOMAIN], { ports: [port as never] }), TypeError, JSON.stringify(port));
    }
    assert.throws(() => endpointPolicy([DOMAIN], { ports: [] }), TypeError);
  });
});
