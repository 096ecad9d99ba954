// Fetches one path from one peer the way a browser-side client would, with Helia, and writes the bytes to stdout.
//
//   node fetch.mjs MULTIADDR PATH [TIMEOUT_MS [KEY_TYPE]]
//
// MULTIADDR ends in /p2p/ID and is the only peer dialled. PATH is /ipns/NAME/... or /ipfs/CID/...; it is walked
// through dag-cbor maps and UnixFS directories. Of a PATH that ends in / the names of its entries are written, one a line,
// each after it was looked up by its own path. KEY_TYPE is that of the key that names this
// peer: Ed25519 (else), secp256k1 or RSA; there are no others in js-libp2p. What was done goes to stderr, one line a step. Exit codes: 0 done,
// 1 failed, 2 wrong arguments.

import { withBitswap } from '@helia/bitswap'
import { ipns, ipnsSelector, ipnsValidator } from '@helia/ipns'
import { withLibp2pLight } from '@helia/libp2p'
import { unixfs } from '@helia/unixfs'
import * as dagCbor from '@ipld/dag-cbor'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createHeliaLight } from 'helia'
import { base36 } from 'multiformats/bases/base36'
import { CID } from 'multiformats/cid'
import { setTimeout } from 'node:timers/promises'

const DAG_CBOR = 0x71
const [address, path, timeout = '30000', keyType = 'Ed25519'] = process.argv.slice(2)

if (address == null || path == null || !/^\/ip[fn]s\/./.test(path)) {
  process.stderr.write('usage: fetch.mjs MULTIADDR /ipns/NAME/...|/ipfs/CID/... [TIMEOUT_MS [KEY_TYPE]]\n')
  process.exit(2)
}

const signal = AbortSignal.timeout(Number(timeout))
/** Writes bytes and waits until they are out: what is still in memory at the exit would be lost. */
const out = (bytes) => new Promise((resolve, reject) => {
  process.stdout.write(bytes, (error) => error == null ? resolve() : reject(error))
})
const say = (line) => process.stderr.write(`${line}\n`)

const helia = await withBitswap(withLibp2pLight(createHeliaLight({ codecs: [dagCbor] }), {
  privateKey: await generateKeyPair(keyType),
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  connectionGater: { denyDialMultiaddr: () => false },
  services: {
    identify: identify(),
    ping: ping(),
    dht: kadDHT({
      protocol: '/ipfs/lan/kad/1.0.0',
      clientMode: true,
      allowQueryWithZeroPeers: true,
      peerInfoMapper: passthroughMapper,
      validators: { ipns: ipnsValidator },
      selectors: { ipns: ipnsSelector }
    })
  }
})).start()

/** Follows an IPNS name to its value, asking the network only. */
async function resolve (name) {
  const key = CID.parse(name, name.startsWith('k') ? base36 : undefined)
  let value
  for await (const result of ipns(helia).resolve(key, { nocache: true, signal })) {
    value = result.value
  }
  if (value == null) {
    throw new Error(`${name} has no value`)
  }
  return value
}

/** The first block of a CID, whole. */
async function block (cid) {
  const parts = []
  for await (const part of helia.blockstore.get(cid, { signal })) {
    parts.push(part)
  }
  return Buffer.concat(parts)
}

let failed = 0
try {
  await helia.libp2p.dial(multiaddr(address), { signal })
  say('connected')
  while (helia.libp2p.services.dht.routingTable.size === 0 && path.startsWith('/ipns/')) {
    signal.throwIfAborted() // a peer that is no DHT server cannot be asked for a name
    await setTimeout(20)
  }

  let [, space, root, ...rest] = path.split('/')
  if (space === 'ipns') {
    const [, , target, ...inner] = (await resolve(root)).split('/')
    say(`resolved ${target}`)
    root = target
    rest = [...inner, ...rest]
  }

  let cid = CID.parse(root)
  while (cid.code === DAG_CBOR && rest.length > 0) {
    let value = dagCbor.decode(await block(cid))
    do {
      value = value[rest.shift()]
    } while (value != null && CID.asCID(value) == null && rest.length > 0)
    cid = CID.asCID(value)
    if (cid == null) {
      throw new Error(`${path} does not lead to a link`)
    }
  }
  say(`walked ${cid}`)

  if (cid.code === DAG_CBOR) {
    await out(await block(cid))
  } else if (rest.at(-1) === '') {
    const inner = rest.slice(0, -1)
    for await (const entry of unixfs(helia).ls(cid, { path: inner.join('/'), signal })) {
      const found = await unixfs(helia).stat(cid, { path: [...inner, entry.name].join('/'), signal })
      if (!found.cid.equals(entry.cid)) {
        throw new Error(`${entry.name} is ${entry.cid} in the list and ${found.cid} by its path`)
      }
      await out(`${entry.name}\n`)
    }
  } else {
    for await (const part of unixfs(helia).cat(cid, { path: rest.join('/'), signal })) {
      await out(part)
    }
  }
} catch (error) {
  say(`${error.name}: ${error.message}`)
  failed = 1
}
await helia.stop()
process.exit(failed)
