#!/bin/bash
# openssl: digests and ciphers over 2 MB, keys, certificates, CMS, and a TLS server for 20 sessions
set -eu
# shellcheck source=hz4/programs/server.sh
. "$(dirname "$0")/server.sh"

seq 1 300000 >data
for digest in md5 sha256 sha3-512 blake2b512; do openssl dgst -$digest data; done
for cipher in aes-256-cbc chacha20 camellia-128-ctr; do
  options=("-$cipher" -pbkdf2 -iter 2000 -pass pass:word -S 0123456789abcdef)
  openssl enc "${options[@]}" -in data -out data.enc
  echo "$cipher $(sha256sum <data.enc) $(openssl enc -d "${options[@]}" -in data.enc | sha256sum)"
done

# Keys are random; that they fit each other is not.
openssl genrsa -out ca.key 2048 2>/dev/null
openssl req -x509 -new -key ca.key -subj /CN=authority -days 2 -out ca.pem
for key in 'RSA -pkeyopt rsa_keygen_bits:2048' 'EC -pkeyopt ec_paramgen_curve:P-384' ED25519; do
  name=${key%% *}
  # shellcheck disable=SC2086 # words
  openssl genpkey -algorithm $key -out "$name.key" 2>/dev/null
  openssl req -new -key "$name.key" -subj "/CN=$name" -out "$name.csr"
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 -out "$name.pem" 2>&1
  openssl verify -CAfile ca.pem "$name.pem"
  openssl pkcs12 -export -inkey "$name.key" -in "$name.pem" -passout pass:word -out "$name.p12"
  openssl pkcs12 -in "$name.p12" -passin pass:word -nokeys 2>/dev/null | grep -c CERTIFICATE
done
for name in RSA EC; do
  openssl dgst -sha256 -sign $name.key -out signature data
  openssl dgst -sha256 -verify <(openssl pkey -in $name.key -pubout) -signature signature data
  openssl cms -encrypt -aes256 -binary -in data -outform DER -out data.cms $name.pem
  openssl cms -decrypt -inform DER -in data.cms -inkey $name.key -recip $name.pem | sha256sum
done

serve() { exec openssl s_server -accept "127.0.0.1:$port" -cert EC.pem -key EC.key -WWW -quiet; }
start_server
for _ in {1..10}; do
  for version in -tls1_2 -tls1_3; do
    # shellcheck disable=SC2016 # the request's line ends
    printf 'GET /data HTTP/1.0\r\n\r\n' |
      openssl s_client -connect "127.0.0.1:$port" $version -CAfile ca.pem -verify_return_error -quiet -ign_eof \
        2>/dev/null |
      tail -c 1000000 | sha256sum
  done
done | sort | uniq -c
stop_server TERM
