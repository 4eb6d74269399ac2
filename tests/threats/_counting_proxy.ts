/** Passes bytes on and counts connections, to prove that a client went on using the one it had. */

/** A running proxy. */
export interface CountingProxy extends AsyncDisposable {
  /** The URL of what is behind it; TLS goes through untouched. */
  readonly url: string;
  /** How many connections there were. */
  readonly connections: () => number;
}

/** Listens on a free port and forwards to the given one. */
export function countConnections(port: number): CountingProxy {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const forwarded: Promise<unknown>[] = [];
  const open: Deno.Conn[] = [];
  const accepting = (async () => {
    for await (const client of listener) {
      const upstream = await Deno.connect({ hostname: "127.0.0.1", port });
      open.push(client, upstream);
      forwarded.push(
        client.readable.pipeTo(upstream.writable).catch(ignore),
        upstream.readable.pipeTo(client.writable).catch(ignore),
      );
    }
  })();
  return {
    url: `https://localhost:${listener.addr.port}`,
    connections: () => open.length / 2,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      for (const each of open) close(each);
      await Promise.all(forwarded);
    },
  };
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // The pipe has closed it.
  }
}

/** A connection that breaks is what a test provokes. */
function ignore(): void {}
