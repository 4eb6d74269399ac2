import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError, createClient as createConnectClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { createServer, type Handlers, implement, publicOnly, RpcError } from "@postern/rpc";
import { createFetch, serve } from "@postern/rpc/deno";
import { testAuthority } from "../_authority.ts";
import { mustCome } from "../_patience.ts";
import { Desk, DeskDescriptor, RequestInfo } from "./_desk.ts";
import { serveConnect } from "./_connect_server.ts";

/** A Connect client of a Postern server, over HTTPS. */
async function connectToPostern(handlers: Partial<Handlers<typeof Desk.methods>>) {
  const { ca, cert, key } = await testAuthority();
  const logged: string[] = [];
  const seen: Request[] = [];
  const fail = () => {
    throw new Error("not expected in this test");
  };
  const server = createServer(
    implement(Desk, { greet: fail, look: fail, fail, wait: fail, ...handlers }),
    {
      guard: publicOnly(["desk.v1/greet", "desk.v1/look", "desk.v1/fail", "desk.v1/wait"]),
      log: (entry) => logged.push(entry.correlationId),
    },
  );
  const watched = {
    fetch(request: Request) {
      seen.push(request);
      return server.fetch(request);
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
  const serving = await serve(watched, { cert, key, port: 0 });
  const fetch = createFetch({ caCerts: [ca] });
  const clientWith = (useHttpGet: boolean) =>
    createConnectClient(
      DeskDescriptor,
      createConnectTransport({ baseUrl: serving.url, useBinaryFormat: false, useHttpGet, fetch }),
    );
  return {
    client: clientWith(false),
    getClient: clientWith(true),
    logged,
    seen,
    async [Symbol.asyncDispose]() {
      fetch[Symbol.dispose]();
      await serving[Symbol.asyncDispose]();
    },
  };
}

async function connectError(call: Promise<unknown>): Promise<ConnectError> {
  const error = await call.then(() => undefined, (thrown: unknown) => thrown);
  assert.ok(error instanceof ConnectError, `expected a ConnectError, got ${error}`);
  return error;
}

async function rpcError(call: Promise<unknown>): Promise<RpcError> {
  const error = await call.then(() => undefined, (thrown: unknown) => thrown);
  assert.ok(error instanceof RpcError, `expected an RpcError, got ${error}`);
  return error;
}

test("createServer() answers Connect's own client", async () => {
  await using postern = await connectToPostern({
    greet: ({ visitorName }) => ({ roomLabel: `Room of ${visitorName} · ✓` }),
  });
  const { roomLabel } = await postern.client.greet({ visitorName: "Ada" });
  assert.equal(roomLabel, "Room of Ada · ✓");
  assert.equal(postern.seen[0].method, "POST");
});

test("createServer() answers unimplemented to Connect's client for a method that it does not have", async () => {
  await using postern = await connectToPostern({ greet: () => ({ roomLabel: "1" }) });
  const error = await connectError(postern.client.missing({ visitorName: "Ada" }));
  assert.equal(error.code, Code.Unimplemented);
  assert.equal((await postern.client.greet({ visitorName: "Ada" })).roomLabel, "1");
});

test("createServer() answers invalid_argument with the field and without its value", async () => {
  await using postern = await connectToPostern({});
  const error = await connectError(postern.client.greet({ visitorName: "secret".repeat(20) }));
  assert.equal(error.code, Code.InvalidArgument);
  assert.match(error.rawMessage, /visitorName/);
  assert.doesNotMatch(error.rawMessage, /secret/);
});

test("createServer() needs what Protobuf leaves out of JSON: a field with its default value", async () => {
  await using postern = await connectToPostern({});
  const error = await connectError(postern.client.greet({ visitorName: "" }));
  assert.equal(error.code, Code.InvalidArgument);
  assert.match(error.rawMessage, /visitorName/);
});

test("RpcError reaches Connect's client with its code and message, and nothing of its cause", async () => {
  await using postern = await connectToPostern({
    fail: () => {
      throw new RpcError("not_found", "There is no such room", { cause: new Error("row 7"), details: { shelf: "B" } });
    },
  });
  const error = await connectError(postern.client.fail({ visitorName: "Ada" }));
  assert.equal(error.code, Code.NotFound);
  assert.equal(error.rawMessage, "There is no such room");
  assert.doesNotMatch(JSON.stringify(error.details), /row 7/);
});

test("createServer() tells Connect's client nothing of what a handler threw", async () => {
  await using postern = await connectToPostern({
    fail: () => {
      throw new TypeError("password is hunter2");
    },
  });
  const error = await connectError(postern.client.fail({ visitorName: "Ada" }));
  assert.equal(error.code, Code.Internal);
  assert.doesNotMatch(`${error.message}${JSON.stringify(error.details)}`, /hunter2|TypeError/);
});

test("createServer() gives the correlation id as a google.rpc.RequestInfo that Connect's client can read", async () => {
  await using postern = await connectToPostern({
    fail: () => {
      throw new RpcError("aborted", "Try again");
    },
  });
  const error = await connectError(postern.client.fail({ visitorName: "Ada" }));
  const [info, ...more] = error.findDetails(RequestInfo);
  assert.deepEqual(more, []);
  assert.match(info.requestId, /^[0-9a-f-]{36}$/);
  assert.deepEqual(postern.logged, [info.requestId]);
});

test("createServer() takes the deadline of Connect's client", async () => {
  const aborted = Promise.withResolvers<unknown>();
  await using postern = await connectToPostern({
    wait: (_message, { signal, remainingMs }) => {
      assert.ok(remainingMs <= 150);
      return new Promise((_, reject) =>
        signal.addEventListener("abort", () => {
          aborted.resolve(signal.reason);
          reject(signal.reason);
        })
      );
    },
  });
  const error = await connectError(postern.client.wait({ visitorName: "Ada" }, { timeoutMs: 150 }));
  assert.equal(error.code, Code.DeadlineExceeded);
  assert.ok(await mustCome(aborted.promise, "the handler's abort") instanceof RpcError);
  assert.equal(postern.seen[0].headers.get("connect-timeout-ms"), "150");
});

test("createServer() answers deadline_exceeded itself where Connect's client waits longer than the header says", async () => {
  await using postern = await connectToPostern({ wait: () => new Promise(() => {}) });
  const headers = { "connect-timeout-ms": "50" };
  const error = await connectError(postern.client.wait({ visitorName: "Ada" }, { headers }));
  assert.equal(error.code, Code.DeadlineExceeded);
  assert.equal(error.findDetails(RequestInfo).length, 1);
});

test("createServer() aborts the handler's signal when Connect's client cancels", async () => {
  const started = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<unknown>();
  await using postern = await connectToPostern({
    wait: (_message, { signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          aborted.resolve(signal.reason);
          reject(signal.reason);
        });
        started.resolve();
      }),
  });
  const controller = new AbortController();
  const call = connectError(postern.client.wait({ visitorName: "Ada" }, { signal: controller.signal }));
  await mustCome(started.promise, "the handler's start");
  controller.abort();
  assert.equal((await call).code, Code.Canceled);
  const reason = await mustCome(aborted.promise, "the handler's abort");
  assert.ok(reason instanceof RpcError && reason.code === "canceled");
});

test("createServer() answers a GET of Connect's client for a safe method", async () => {
  await using postern = await connectToPostern({
    look: ({ visitorName }) => ({ roomLabel: `for ${visitorName}` }),
    greet: () => ({ roomLabel: "posted" }),
  });
  const { roomLabel } = await postern.getClient.look({ visitorName: "Ada & Bob? ü/#+" });
  assert.equal(roomLabel, "for Ada & Bob? ü/#+");
  assert.equal(postern.seen[0].method, "GET");
  assert.equal((await postern.getClient.greet({ visitorName: "Ada" })).roomLabel, "posted");
  assert.equal(postern.seen[1].method, "POST");
});

test("createServer() answers errors to a GET of Connect's client too", async () => {
  await using postern = await connectToPostern({});
  const error = await connectError(postern.getClient.look({ visitorName: "a".repeat(65) }));
  assert.equal(error.code, Code.InvalidArgument);
  assert.equal(postern.seen[0].method, "GET");
});

test("createClient() calls a server made with Connect's own library", async () => {
  await using connect = await serveConnect({ greet: ({ visitorName }) => ({ roomLabel: `Room of ${visitorName} ✓` }) });
  const { roomLabel } = await connect.client.greet({ visitorName: "Ada" });
  assert.equal(roomLabel, "Room of Ada ✓");
  assert.equal(connect.seen[0].headers.get("connect-protocol-version"), "1");
});

const CODES = {
  canceled: Code.Canceled,
  unknown: Code.Unknown,
  invalid_argument: Code.InvalidArgument,
  deadline_exceeded: Code.DeadlineExceeded,
  not_found: Code.NotFound,
  already_exists: Code.AlreadyExists,
  permission_denied: Code.PermissionDenied,
  resource_exhausted: Code.ResourceExhausted,
  failed_precondition: Code.FailedPrecondition,
  aborted: Code.Aborted,
  out_of_range: Code.OutOfRange,
  unimplemented: Code.Unimplemented,
  internal: Code.Internal,
  unavailable: Code.Unavailable,
  data_loss: Code.DataLoss,
  unauthenticated: Code.Unauthenticated,
} as const;

for (const [name, code] of Object.entries(CODES)) {
  test(`createClient() reads ConnectError ${name} with its message, and the details that are not its own safely`, async () => {
    await using connect = await serveConnect({
      fail: () => {
        throw new ConnectError("of a kind", code, {}, [{ desc: RequestInfo, value: { requestId: "../<b>not an id" } }]);
      },
    });
    const error = await rpcError(connect.client.fail({ visitorName: "Ada" }));
    assert.equal(error.code, name);
    assert.equal(error.message, "of a kind");
    assert.equal(error.received, true);
    assert.equal(error.details, undefined);
    assert.equal(error.correlationId, undefined);
  });

  test(`createServer() answers ${name} so that Connect's client reads the same`, async () => {
    await using postern = await connectToPostern({
      fail: () => {
        throw new RpcError(name as keyof typeof CODES, "of a kind");
      },
    });
    const error = await connectError(postern.client.fail({ visitorName: "Ada" }));
    assert.equal(error.code, code);
    assert.equal(error.rawMessage, "of a kind");
  });
}

test("createClient() reads a RequestInfo that a Connect server sends", async () => {
  await using connect = await serveConnect({
    fail: () => {
      throw new ConnectError("no", Code.Aborted, {}, [{ desc: RequestInfo, value: { requestId: "req-17" } }]);
    },
  });
  assert.equal((await rpcError(connect.client.fail({ visitorName: "Ada" }))).correlationId, "req-17");
});

test("createClient() makes internal of an answer that is not what the contract says", async () => {
  await using connect = await serveConnect({ greet: () => ({ roomLabel: "" }) }); // which Protobuf leaves out of JSON
  const error = await rpcError(connect.client.greet({ visitorName: "Ada" }));
  assert.equal(error.code, "internal");
  assert.match(error.message, /roomLabel/);
});

test("createClient() passes its deadline on to a Connect server", async () => {
  const aborted = Promise.withResolvers<unknown>();
  await using connect = await serveConnect({
    wait: (_message, context) => {
      const left = context.timeoutMs() ?? Infinity;
      assert.ok(left > 0 && left <= 150, `${left}`);
      return new Promise((_, reject) =>
        context.signal.addEventListener("abort", () => {
          aborted.resolve(context.signal.reason);
          reject(context.signal.reason);
        })
      );
    },
  });
  const error = await rpcError(connect.client.wait({ visitorName: "Ada" }, { timeoutMs: 150 }));
  assert.equal(error.code, "deadline_exceeded");
  assert.equal(connect.seen[0].headers.get("connect-timeout-ms"), "150");
  await mustCome(aborted.promise, "the handler's abort");
});

test("createClient() cancels a call at a Connect server", async () => {
  const started = Promise.withResolvers<void>();
  const aborted = Promise.withResolvers<void>();
  await using connect = await serveConnect({
    wait: (_message, { signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          aborted.resolve();
          reject(signal.reason);
        });
        started.resolve();
      }),
  });
  const controller = new AbortController();
  const call = rpcError(connect.client.wait({ visitorName: "Ada" }, { signal: controller.signal }));
  await mustCome(started.promise, "the handler's start");
  controller.abort();
  assert.equal((await call).code, "canceled");
  await mustCome(aborted.promise, "the handler's abort");
});
