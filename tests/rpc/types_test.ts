import {
  type Client,
  type Context,
  createClient,
  createServer,
  fetchTransport,
  type Handlers,
  implement,
  rpc,
  service,
  stream,
  type Transport,
} from "../../src/rpc/mod.ts";
import { test } from "node:test";
import * as v from "valibot";

/** Whether two types are the same, readonly and optional members included. */
type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;

/** Does not compile unless its type argument is true. */
function holds<_Claim extends true>(): void {}

const In = v.strictObject({ n: v.pipe(v.string(), v.transform(Number)), note: v.optional(v.string(), "none") });
const Out = v.object({ total: v.number(), at: v.optional(v.string()) });

const Sums = service("sums.v1", {
  unary: rpc(In, Out),
  up: rpc(stream(In), Out),
  down: rpc(In, stream(Out)),
  both: rpc(stream(In), stream(Out)),
});

/** What a caller sends, and what a handler gets of it. */
interface Given {
  n: string;
  note?: string | undefined;
}
interface Got {
  n: number;
  note: string;
}
interface Total {
  total: number;
  at?: string | undefined;
}

type Sums = typeof Sums.methods;
type Shape<T> = T extends AsyncIterable<infer Item> ? AsyncIterable<Shape<Item>> : { [Key in keyof T]: T[Key] };

test("createClient() infers what is sent and what is answered, for the four shapes", () => {
  type Calls = Client<Sums>;
  holds<Equals<Shape<Parameters<Calls["unary"]>[0]>, Shape<Given>>>();
  holds<Equals<Shape<Awaited<ReturnType<Calls["unary"]>>>, Shape<Total>>>();
  holds<Equals<Shape<Parameters<Calls["up"]>[0]>, AsyncIterable<Shape<Given>>>>();
  holds<Equals<Shape<Awaited<ReturnType<Calls["up"]>>>, Shape<Total>>>();
  holds<Equals<Shape<Parameters<Calls["down"]>[0]>, Shape<Given>>>();
  holds<Equals<Shape<ReturnType<Calls["down"]>>, AsyncIterable<Shape<Total>>>>();
  holds<Equals<Shape<Parameters<Calls["both"]>[0]>, AsyncIterable<Shape<Given>>>>();
  holds<Equals<Shape<ReturnType<Calls["both"]>>, AsyncIterable<Shape<Total>>>>();
  holds<Equals<keyof Calls, "unary" | "up" | "down" | "both">>();
});

test("implement() infers what a handler is given and what it answers, for the four shapes", () => {
  type All = Handlers<Sums>;
  holds<Equals<Shape<Parameters<All["unary"]>[0]>, Shape<Got>>>();
  holds<Equals<Parameters<All["unary"]>[1], Context>>();
  holds<Equals<Shape<Awaited<ReturnType<All["unary"]>>>, Shape<Total>>>();
  holds<Equals<Shape<Parameters<All["up"]>[0]>, AsyncIterable<Shape<Got>>>>();
  holds<Equals<Shape<Awaited<ReturnType<All["up"]>>>, Shape<Total>>>();
  holds<Equals<Shape<Parameters<All["down"]>[0]>, Shape<Got>>>();
  holds<Equals<Shape<ReturnType<All["down"]>>, AsyncIterable<Shape<Total>>>>();
  holds<Equals<Shape<Parameters<All["both"]>[0]>, AsyncIterable<Shape<Got>>>>();
  holds<Equals<Shape<ReturnType<All["both"]>>, AsyncIterable<Shape<Total>>>>();
});

declare const transport: Transport;
const One = service("one.v1", { add: rpc(v.strictObject({ n: v.number() }), v.object({ n: v.number() })) });

/** Never called: that it compiles, with each mistake marked, is the test. */
export async function mistakes(): Promise<void> {
  const one = createClient(One, transport);
  const { n } = await one.add({ n: 1 });
  holds<Equals<typeof n, number>>();

  // @ts-expect-error a member of another type
  await one.add({ n: "1" });
  // @ts-expect-error a member that is missing
  await one.add({});
  // @ts-expect-error a member that the contract does not name
  await one.add({ n: 1, more: 2 });
  // @ts-expect-error no message
  await one.add();
  // @ts-expect-error a method that the contract does not name
  await one.subtract({ n: 1 });
  // @ts-expect-error an answer's member that the contract does not name
  (await one.add({ n: 1 })).more;
  // @ts-expect-error a client cannot be changed
  one.add = createClient(One, transport).add;
  // @ts-expect-error an option that does not exist
  await one.add({ n: 1 }, { timeout: 1 });

  implement(One, { add: ({ n }) => ({ n }) });
  implement(One, { add: ({ n }) => Promise.resolve({ n }) });
  // @ts-expect-error no handler
  implement(One, {});
  // @ts-expect-error an answer of another type
  implement(One, { add: () => ({ n: "1" }) });
  // @ts-expect-error an answer without a member
  implement(One, { add: () => ({}) });
  // @ts-expect-error no answer
  implement(One, { add: () => {} });
  // @ts-expect-error a message of another type
  implement(One, { add: ({ n }: { n: string }) => ({ n: Number(n) }) });
  // @ts-expect-error a handler for a method that the contract does not name
  implement(One, { add: ({ n }) => ({ n }), subtract: () => ({ n: 1 }) });
  // @ts-expect-error a unary answer where the contract has a stream
  implement(service("s.v1", { down: rpc(In, stream(Out)) }), { down: () => ({ total: 1 }) });

  // @ts-expect-error no guard
  createServer(implement(One, { add: ({ n }) => ({ n }) }), {});
  // @ts-expect-error no options
  createServer(implement(One, { add: ({ n }) => ({ n }) }));
  // @ts-expect-error no prover
  fetchTransport("https://one.test", {});
  // @ts-expect-error no options
  fetchTransport("https://one.test");
  // @ts-expect-error no schema
  rpc({ n: "number" }, Out);
  // @ts-expect-error a code that does not exist
  rpc(In, Out, { errors: { nope: Out } });
}

test("context.call() gives a client of the same type", () => {
  type Bound = ReturnType<Context["call"]>;
  holds<Equals<Bound, object>>();
  const bind = (context: Context, client: Client<Sums>) => context.call(client);
  holds<Equals<ReturnType<typeof bind>, Client<Sums>>>();
});
