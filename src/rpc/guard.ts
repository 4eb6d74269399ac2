import type { Origin } from "./call.ts";
import type { Channel } from "./channel.ts";
import type { Caller, Right } from "./context.ts";
import type { Method, Service } from "./contract.ts";
import type { PeerCertificate } from "./peer.ts";
import { RpcError } from "./rpc_error.ts";

/** The head of a request: what there is of it before its body. */
export interface RequestHead {
  /** The HTTP method. */
  readonly method: string;
  /** The whole URL. */
  readonly url: string;
  /** The headers, by their lower-case names; a name that came twice has its values joined by a comma. */
  readonly headers: { get(name: string): string | null | undefined };
}

/** A call as it arrives, before anything of it is decoded. */
export interface Incoming {
  /** The method it names; undefined where the server has no such method, and for a connection. */
  readonly method: Method | undefined;
  /**
   * The head of the request; undefined for a call from the same process. For a call on a connection its headers are those
   * that came with the call, which the connection proves.
   */
  readonly request: RequestHead | undefined;
  /** What follows the head: a body, a stream of messages, or a connection's frames. */
  readonly carries: "body" | "stream" | "connection";
  /**
   * Reads the raw body, within the server's limits, once for all who ask.
   *
   * @returns The body's bytes; none for a call by GET or from the same process, for a stream and for a connection.
   */
  body(): Promise<Uint8Array>;
  /** The id under which the call is logged, and which the caller is given with an error. */
  readonly correlationId: string;
  /** The certificate on the other side of the connection, where there is one and the listener tells. */
  readonly certificate?: PeerCertificate | undefined;
  /** What a call from the same process is part of. */
  readonly origin?: Origin | undefined;
  /**
   * Proves the refusal too, should there be one.
   *
   * @param seal What proves it; called at most once, and not where the call is admitted.
   */
  sealRefusal(seal: Seal): void;
}

/** A response as it leaves, complete but for its proof. */
export interface OutgoingResponse {
  /** The HTTP status. */
  readonly status: number;
  /** The media type of the body. */
  readonly contentType: string;
  /** The body; undefined where a stream or a connection's frames follow. */
  readonly body: string | Uint8Array | undefined;
}

/** Proves a response, in a second at most: gives the headers to add to it; of a stream's, the body is undefined. */
export type Seal = (
  response: OutgoingResponse,
) => Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>;

/** What a guard says of a call that it lets in. */
export interface Admission {
  /** Who calls; undefined where nobody proved to be anyone. */
  readonly caller?: Caller | undefined;
  /** What the call is part of: its trace, who it came through before its caller, a right that was handed on. */
  readonly origin?: Origin | undefined;
  /** The right that the caller showed. */
  readonly capability?: Right | undefined;
  /**
   * Decides on the decoded and checked message; MUST throw an {@linkcode RpcError} to refuse, and MUST return nothing: any
   * other answer counts as a failure of the guard, and the handler is not called.
   */
  decide?(message: unknown): void | Promise<void>;
  /** Checks the raw body before it is decoded, where `admit` did not; MUST throw an {@linkcode RpcError} to refuse it. */
  checkBody?(body: Uint8Array): void | Promise<void>;
  /**
   * Asked about a stream before each of its messages, either way: MUST throw an {@linkcode RpcError} when what it was let
   * in by holds no longer.
   */
  assertHolds?(): void;
  /** Proves the response. */
  readonly seal?: Seal;
  /** Proves what follows the heads of a stream or a connection, each way. */
  readonly channel?: Channel;
  /**
   * Admits one call on a connection, as {@linkcode Guard.admit} does; a connection that was admitted without it carries no
   * calls.
   */
  admitCall?(incoming: Incoming): Admission | Promise<Admission>;
  /** Told when the call is over, whatever its end. */
  end?(): void;
}

/**
 * The door of a server: who may call what.
 *
 * A server cannot be built without one. An implementation MUST refuse by throwing an {@linkcode RpcError}, MUST refuse
 * what it does not know, and MUST NOT decode the body.
 */
export interface Guard {
  /**
   * Checks the guard's own rules against what the server serves, once, before the first call.
   *
   * @param services What the server serves.
   * @param tell Puts something that whoever runs the server should know into its log.
   * @returns What ends with the server.
   * @throws {TypeError} A rule names a service or a method that the server does not have.
   */
  start(services: readonly Service[], tell: (event: string) => void): Disposable | void;
  /**
   * Admits or refuses one call.
   *
   * What takes longer than the call may take ends with it, and what is no object counts as a failure of the guard.
   * Called for unknown methods too, so that a guard can answer a stranger the same for a method that is not there and
   * for one that is not his.
   *
   * @throws {RpcError} The call is refused.
   */
  admit(incoming: Incoming): Admission | Promise<Admission>;
}

/**
 * Opens the named methods to anyone, and nothing else.
 *
 * Nobody is identified: whoever reaches the server may call these methods, and no one can call another. A method that
 * is not named answers `permission_denied`.
 *
 * @example A greeter for everyone
 * ```ts
 * import { publicOnly } from "@postern/rpc";
 *
 * const guard = publicOnly(["greeter.v1/hello"]);
 * ```
 *
 * @param methods The methods, each as `service/method`; there are no wildcards, so that a method added later stays shut.
 * @returns The guard.
 */
export function publicOnly(methods: readonly string[]): Guard {
  const open = new Set(methods.map((method) => `/${method}`));
  return {
    start(services) {
      const served = new Set(services.flatMap((each) => Object.values(each.methods)).map((method) => method.path));
      const unknown = [...open].filter((path) => !served.has(path)).map((path) => `"${path.slice(1)}"`);
      if (unknown.length === 0) return;
      throw new TypeError(`Cannot open ${unknown.join(", ")} to the public: the server has no such method`);
    },
    admit: ({ method, carries }) => carries === "connection" ? { admitCall: admit } : admit({ method }),
  };

  function admit({ method }: Pick<Incoming, "method">): Admission {
    if (method && !open.has(method.path)) throw new RpcError("permission_denied", "Cannot call this method");
    return ADMITTED;
  }
}

const ADMITTED: Admission = /* @__PURE__ */ Object.freeze({});
