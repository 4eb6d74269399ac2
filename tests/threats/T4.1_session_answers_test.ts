// Somebody on the way makes an answer under a session say something else, or gives it to another request.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { nobleHash } from "../../src/internal/hash.ts";
import { textMac } from "../../src/auth/session_signature.ts";
import { answerOf } from "../auth/_messages.ts";
import { kindOf, kindsOf, send, type Under, underSession } from "../auth/_sessions.ts";
import { type Captured, watchedAudit } from "../auth/_world.ts";
import { gate, rejection } from "../rpc/_rig.ts";

interface Answer {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
}

async function scene() {
  const audit = watchedAudit();
  const under = await underSession({ proving: () => ({ audit }) });
  return { ...under, audit, under };
}

const partsOf = async (response: Response): Promise<Answer> => ({
  status: response.status,
  headers: Object.fromEntries(response.headers),
  body: await response.text(),
});
const responseOf = ({ status, headers, body }: Answer): Response => new Response(body, { status, headers });
const withHeader = (answer: Answer, name: string, value: string | undefined): Answer => {
  const { [name]: _, ...headers } = answer.headers;
  return { ...answer, headers: value === undefined ? headers : { ...headers, [name]: value } };
};

/** One call whose answer is changed; gives what the client made of it. */
async function changedAnswer(change: (answer: Answer, request: Captured) => Answer | Promise<Answer>) {
  const { under, audit, echo } = await scene();
  under.between = async (request, pass) => responseOf(await change(await partsOf(await pass(request)), request));
  const error = await rejection(under.client.say({ text: "x" }));
  assert.equal(kindOf(under.captured.at(-1)!), "session");
  assert.equal(echo.calls.length, 3);
  return { code: error.code, reasons: audit.events.map(({ reason }) => reason) };
}

const FORGERIES: readonly [
  title: string,
  change: (answer: Answer, request: Captured) => Answer | Promise<Answer>,
  reason: string,
][] = [
  ["another status", (answer) => ({ ...answer, status: 400 }), "bad_signature"],
  ["another media type", (answer) => withHeader(answer, "content-type", "application/cbor"), "bad_signature"],
  ["no media type", (answer) => withHeader(answer, "content-type", "text/plain"), "bad_signature"],
  ["another body", (answer) => ({ ...answer, body: '{"text":"y"}' }), "bad_digest"],
  ["an empty body", (answer) => ({ ...answer, body: "" }), "bad_digest"],
  ["another digest", (answer) => withHeader(answer, "content-digest", `sha-256=:${"A".repeat(43)}=:`), "bad_signature"],
  ["no digest", (answer) => withHeader(answer, "content-digest", undefined), "bad_signature"],
  [
    "no proof",
    (answer) => withHeader(withHeader(answer, "signature", undefined), "signature-input", undefined),
    "bad_signature",
  ],
  ["no MAC", (answer) => withHeader(answer, "signature", undefined), "bad_signature"],
  ["an empty MAC", (answer) => withHeader(answer, "signature", ""), "bad_signature"],
  ["a MAC of zeros", (answer) => withHeader(answer, "signature", `s=:${"A".repeat(43)}=:`), "bad_signature"],
  [
    "a MAC cut short",
    (answer) => withHeader(answer, "signature", answer.headers["signature"]!.slice(0, -3)),
    "bad_signature",
  ],
  ["no input", (answer) => withHeader(answer, "signature-input", undefined), "bad_signature"],
  [
    "another counter",
    (answer) =>
      withHeader(answer, "signature-input", answer.headers["signature-input"]!.replace(/nonce="\d+"/, 'nonce="99"')),
    "bad_signature",
  ],
  [
    "an input that covers less",
    (answer) =>
      withHeader(answer, "signature-input", answer.headers["signature-input"]!.replace(' "content-type"', "")),
    "bad_signature",
  ],
  [
    "a token beside its proof",
    (answer) => withHeader(answer, "workload-identity-token", "a.b.c"),
    "malformed_signature",
  ],
  [
    "the request's own proof",
    (answer, { headers }) =>
      withHeader(withHeader(answer, "signature", headers["signature"]), "signature-input", headers["signature-input"]),
    "bad_signature",
  ],
];

describe("T4.1 an answer under a session that somebody changed", () => {
  for (const [title, change, reason] of FORGERIES) {
    test(`T4.1 a client refuses an answer under a session with ${title}`, async () => {
      assert.deepEqual(await changedAnswer(change), { code: "unavailable", reasons: [reason] });
    });
  }

  test("T4.1 a client refuses an answer that was made with its own key: what it says cannot be sent back to it", async () => {
    const { under, keys, client } = await scene();
    under.between = async (request, pass) => {
      const answer = await partsOf(await pass(request));
      const { "content-type": type, "content-digest": digest, "signature-input": input } = answer.headers;
      const base = `"@status": 200\n"content-type": ${type}\n"content-digest": ${digest}\n"@signature-params": ${
        input!.slice(2)
      }`;
      assert.equal(
        answer.headers["signature"],
        `s=:${textMac(nobleHash(), keys[1]!)(base)}:`,
        "this is how it is made",
      );
      return responseOf(withHeader(answer, "signature", `s=:${textMac(nobleHash(), keys[0]!)(base)}:`));
    };
    assert.equal((await rejection(client.say({ text: "x" }))).code, "unavailable");
  });

  test("T4.1 a server refuses an answer of its own that comes as a request", async () => {
    const { under, echo, client } = await scene();
    under.between = async (request, pass) => {
      const response = await pass(request);
      const { headers, body } = await partsOf(response.clone() as Response);
      assert.notEqual(
        (await send(echo, { ...request, headers: { ...request.headers, ...headers }, body })).status,
        200,
      );
      const proof = { signature: headers["signature"]! };
      assert.notEqual((await send(echo, { ...request, headers: { ...request.headers, ...proof } })).status, 200);
      return response;
    };
    await client.say({ text: "x" });
    assert.equal(echo.calls.length, 3);
  });

  test("T4.1 a client refuses answers that were swapped between two calls under way", async () => {
    const { under, client, audit } = await scene();
    const answers = [gate<Response>(), gate<Response>()] as const;
    let turn = 0;
    under.between = async (request, pass) => {
      const own = turn++ as 0 | 1;
      answers[own].open(await pass(request));
      return await answers[1 - own as 0 | 1].opened;
    };
    const calls = ["same", "same"].map((text) => client.say({ text }));
    for (const call of calls) assert.equal((await rejection(call)).code, "unavailable");
    assert.deepEqual(audit.events.map(({ reason }) => reason), ["bad_signature", "bad_signature"]);
  });

  test("T4.1 a client refuses an earlier answer to the same call, and an answer of another session", async () => {
    const { under, client } = await scene();
    const other = await scene();
    let stolen: Response | undefined;
    const steal: Under["between"] = async (request, pass) => {
      const response = await pass(request);
      stolen = response.clone() as Response;
      return response;
    };
    under.between = other.under.between = steal;
    await client.say({ text: "same" });
    const earlier = stolen!;
    under.between = async (request, pass) => (await pass(request), earlier.clone() as Response);
    assert.equal((await rejection(client.say({ text: "same" }))).code, "unavailable");
    await other.client.say({ text: "same" });
    await other.client.say({ text: "same" });
    under.between = async (request, pass) => (await pass(request), stolen!.clone() as Response);
    assert.equal((await rejection(client.say({ text: "same" }))).code, "unavailable");
  });
});

describe("T3.3 who answers a request under a session", () => {
  const signers: readonly [title: string, id: string, serves: readonly string[]][] = [
    ["another workload", "spiffe://example.org/evil", ["echo.v1"]],
    ["a look-alike", "spiffe://example.org/echo/x", ["echo.v1"]],
    ["the peer that may not serve the service", "spiffe://example.org/echo", []],
  ];
  for (const [title, id, serves] of signers) {
    test(`T3.3 a client refuses a signed answer to a request under a session of ${title}`, async () => {
      const { under, client, audit, world: at, captured } = await scene();
      const evil = await at.join(id, { serves: [...serves] });
      under.between = async (request) => {
        const [, session, counter] = /keyid="([^"]*)";nonce="(\d+)"/.exec(request.headers["signature-input"]!)!;
        const nonce = { "signature-input": `;nonce="${session}.${counter}"` };
        return await answerOf(evil, { ...request, headers: nonce }, '{"text":"x"}');
      };
      assert.equal((await rejection(client.say({ text: "x" }))).code, "unavailable");
      assert.deepEqual(audit.events.map(({ reason }) => reason), ["wrong_peer"]);
      under.between = (request, pass) => pass(request);
      await client.say({ text: "y" });
      assert.ok(["session", "signed", "opening"].includes(kindOf(captured.at(-1)!)));
    });
  }
});

describe("T3.4 nobody on the way takes a session away, or makes it weaker", () => {
  const HEADERS = ["postern-session", "postern-encryption-key", "workload-identity-token"];
  for (const name of HEADERS) {
    test(`T3.4 a client refuses a signed answer without its ${name}`, async () => {
      const { echo, web } = await underSession();
      const audit = watchedAudit();
      let isOn = false;
      const client = echo.client(web, {
        audit,
        through: async (request, pass) => {
          const answer = await partsOf(await pass(request));
          return responseOf(isOn ? withHeader(answer, name, undefined) : answer);
        },
      });
      await client.say({ text: "x" });
      isOn = true;
      assert.equal((await rejection(client.say({ text: "x" }))).code, "unavailable");
      assert.equal(audit.events.length, 1);
    });
  }

  test("T3.4 a client refuses a signed answer with another encryption key, or that opens another session", async () => {
    const { echo, web } = await underSession();
    for (
      const [name, value] of [["postern-encryption-key", "B".repeat(43)], ["postern-session", "B".repeat(43)]] as const
    ) {
      const client = echo.client(web, {
        through: async (request, pass) => responseOf(withHeader(await partsOf(await pass(request)), name, value)),
      });
      assert.equal((await rejection(client.say({ text: "x" }))).code, "unavailable", name);
    }
  });

  test("T3.4 a server refuses a request whose opening was taken out, changed or put in", async () => {
    const { echo, web } = await underSession();
    const captured: Captured[] = [];
    const client = echo.client(web, { captured, through: (request, pass) => pass(request) });
    await client.say({ text: "x" });
    const calls = echo.calls.length;
    let opening = "";
    const evil = echo.client(web, {
      captured,
      through: async (request, pass) => {
        const { "postern-session": own, ...headers } = request.headers;
        if (own === undefined) return await pass(request);
        opening = own;
        assert.notEqual((await pass({ ...request, headers })).status, 200);
        const other = own.replace("from=1", "from=2");
        assert.notEqual((await pass({ ...request, headers: { ...headers, "postern-session": other } })).status, 200);
        return await pass(request);
      },
    });
    await evil.say({ text: "x" });
    await evil.say({ text: "x" });
    assert.notEqual(opening, "");
    assert.equal(echo.calls.length, calls + 2);
    const plain = echo.client(web, {
      through: async (request, pass) =>
        await pass({ ...request, headers: { ...request.headers, "postern-session": opening } }),
    });
    assert.equal((await rejection(plain.say({ text: "x" }))).code, "unavailable");
    assert.deepEqual(kindsOf(captured), ["signed", "signed", "opening"]);
  });
});
