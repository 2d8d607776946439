// Write a vulnerability database of trivy: testdb DIRECTORY < vulnerabilities.json
//
// Source: trivy-db, https://github.com/aquasecurity/trivy-db/tree/main/pkg/db
package main

import (
	"encoding/json"
	"log"
	"os"
	"time"

	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy-db/pkg/metadata"
	"github.com/aquasecurity/trivy-db/pkg/types"
	bolt "go.etcd.io/bbolt"
)

type vulnerability struct {
	ID, Source, Package, Fixed, Range, Title, URL string
	Severity                                      types.Severity
	VendorIDs                                     []string
	Published                                     *time.Time
}

type content struct {
	Built           time.Time
	Vulnerabilities []vulnerability
}

func main() {
	var wanted content
	check(json.NewDecoder(os.Stdin).Decode(&wanted))
	directory := os.Args[1]
	check(db.Init(directory))
	check(db.Config{}.BatchUpdate(func(tx *bolt.Tx) error {
		for _, each := range wanted.Vulnerabilities {
			put(tx, each)
		}
		return nil
	}))
	check(db.Close())
	check(metadata.NewClient(directory).Update(metadata.Metadata{
		Version: db.SchemaVersion, UpdatedAt: wanted.Built, NextUpdate: wanted.Built.Add(24 * time.Hour),
	}))
}

func put(tx *bolt.Tx, each vulnerability) {
	config := db.Config{}
	advisory := types.Advisory{FixedVersion: each.Fixed, VendorIDs: each.VendorIDs, Severity: each.Severity}
	if each.Range != "" {
		advisory = types.Advisory{
			VulnerableVersions: []string{each.Range}, PatchedVersions: []string{each.Fixed}, VendorIDs: each.VendorIDs,
		}
	}
	check(config.PutAdvisory(tx, []string{each.Source, each.Package}, each.ID, advisory))
	check(config.PutDataSource(tx, each.Source, types.DataSource{ID: "test", Name: "test", URL: each.URL}))
	check(config.PutVulnerability(tx, each.ID, types.Vulnerability{
		Title: each.Title, Severity: each.Severity.String(), References: []string{each.URL}, PublishedDate: each.Published,
	}))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
