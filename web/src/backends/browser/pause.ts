/** Lets the page be drawn, and its reader do something, in long work. */
export async function pause(signal: AbortSignal | null = null): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve));
  signal?.throwIfAborted();
}
